// The texts behind a device's name on the command line, translated to the keys of
// its configuration node (bhyve(8), "-s", and bhyve_config(5)).

import type { ConfigNode } from "../vmm/config.ts";
import { OptionError, STATUS } from "./option_error.ts";

/** Translates a text to keys of a node. @throws {OptionError} */
export type ConfParser = (node: ConfigNode, conf: string) => void;

/** Splits at the first comma; without one the second part is empty. */
export function splitFirst(text: string): readonly [string, string] {
  const comma = text.indexOf(",");
  return comma < 0 ? [text, ""] : [text.slice(0, comma), text.slice(comma + 1)];
}

function failed(message: string): OptionError {
  return new OptionError(STATUS.ERROR, message);
}

/** `name[=value]`, comma-separated; a bare name is true. */
export function parseSettings(node: ConfigNode, conf: string): void {
  for (const item of conf.split(",").filter((text) => text !== "")) {
    const equals = item.indexOf("=");
    if (equals < 0) node.set(item, true);
    else node.set(item.slice(0, equals), item.slice(equals + 1));
  }
}

/** One value under a key, then settings. */
export function valueThenSettings(key: string): ConfParser {
  return (node, conf) => {
    const [value, rest] = splitFirst(conf);
    if (value !== "") node.set(key, value);
    parseSettings(node, rest);
  };
}

/** The whole text under a key. */
export function wholeValue(key: string): ConfParser {
  return (node, conf) => {
    if (conf !== "") node.set(key, conf);
  };
}

const MOST_PORTS = 32;

/** `[hd:|cd:]path[,opts]`, repeated where `,hd:` or `,cd:` follows. */
export function ahciPorts(type: "hd" | "cd"): ConfParser {
  return (node, conf) => {
    node.set("device", "ahci");
    if (conf === "") return;
    const ports = conf.split(/,(?=(?:hd|cd):)/);
    if (ports.length > MOST_PORTS) {
      throw failed(`ahci: too many ports: expected at most ${MOST_PORTS}`);
    }
    for (const [n, text] of ports.entries()) {
      const [, prefix, rest] = /^(?:(hd|cd):)?([^]*)$/.exec(text)!;
      const port = node.node(`port.${n}`);
      port.set("type", prefix ?? type);
      valueThenSettings("path")(port, rest!);
    }
  };
}

/** `path[,opts]`, or `ram=MiB[,opts]`. */
export function nvme(node: ConfigNode, conf: string): void {
  if (conf.startsWith("ram=")) parseSettings(node, conf);
  else valueThenSettings("path")(node, conf);
}

/** `name[,name...]`: the devices at an xHCI controller's ports from 1. */
export function xhciSlots(node: ConfigNode, conf: string): void {
  const names = conf.split(",").filter((name) => name !== "");
  for (const [n, name] of names.entries()) {
    node.set(`slot.${n + 1}.device`, name);
  }
}

/** `sharename=path[,ro]`. */
export function share(node: ConfigNode, conf: string): void {
  const [first, rest] = splitFirst(conf);
  const equals = first.indexOf("=");
  if (equals <= 0 || equals === first.length - 1) {
    throw failed(`virtio-9p: invalid share "${first}": expected name=path`);
  }
  node.set("sharename", first.slice(0, equals));
  node.set("path", first.slice(equals + 1));
  parseSettings(node, rest);
}

const MOST_CONSOLES = 16;

/** `name=path[,name2=path2...]`. */
export function consolePorts(node: ConfigNode, conf: string): void {
  const ports = conf.split(",").filter((text) => text !== "");
  for (const [n, text] of ports.entries()) {
    if (n === MOST_CONSOLES) throw failed("vtcon: too many ports");
    const equals = text.indexOf("=");
    const name = equals < 0 ? text : text.slice(0, equals);
    const path = equals < 0 ? "" : text.slice(equals + 1);
    if (path === "") throw failed(`vtcon: port ${name} requires a path`);
    node.set(`port.${n}.name`, name);
    node.set(`port.${n}.path`, path);
  }
}

const LAST_TARGET = 255;

/** `[dev][,iid=N][,bootindex=N]`, or `target=[id:]dev` repeated (`dev=` too). */
export function scsi(node: ConfigNode, conf: string): void {
  const items = conf.split(",").filter((text) => text !== "");
  let next = 0;
  for (const [n, item] of items.entries()) {
    const target = /^(?:target|dev)=(?:(\d+):)?(.+)$/.exec(item);
    if (target !== null) {
      const id = target[1] === undefined ? next : Number(target[1]);
      if (id > LAST_TARGET) {
        throw failed(
          `virtio-scsi: invalid target "${item}": expected 0 to 255`,
        );
      }
      node.set(`target.${id}`, target[2]!);
      next = id + 1;
    } else if (n === 0 && !item.includes("=")) node.set("dev", item);
    else parseSettings(node, item);
  }
}

const PASSTHRU_FORMS: readonly [RegExp, readonly string[]][] = [
  [/^(ppt\d+)$/, ["pptdev"]],
  [/^(\d+)\/(\d+)\/(\d+)$/, ["bus", "slot", "func"]],
  [/^pci(?:0:)?(\d+):(\d+):(\d+)$/, ["bus", "slot", "func"]],
];

/** `bus/slot/func`, `pptN`, `pciB:S:F` or `pci0:B:S:F`, then settings. */
export function passthru(node: ConfigNode, conf: string): void {
  const [where, rest] = splitFirst(conf);
  const form = PASSTHRU_FORMS.find(([pattern]) => pattern.test(where));
  if (form === undefined) {
    throw failed(`passthru: invalid options "${conf}"`);
  }
  const [pattern, keys] = form;
  const values = pattern.exec(where)!.slice(1);
  for (const [n, key] of keys.entries()) node.set(key, values[n]!);
  parseSettings(node, rest);
}

/** The AMD host bridge is the generic one with other identifiers. */
export function amdHostBridge(node: ConfigNode, conf: string): void {
  node.set("device", "hostbridge");
  node.set("pcireg.vendor", "0x1022");
  node.set("pcireg.device", "0x7432");
  parseSettings(node, conf);
}
