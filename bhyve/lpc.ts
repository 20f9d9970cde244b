// Devices behind the LPC bridge on the command line: `-l device[,conf]`
// (bhyve(8), bhyve_config(5)).

import type { ConfigNode } from "../vmm/config.ts";
import { parseSettings, splitFirst } from "./conf.ts";
import { refuse, STATUS } from "./option_error.ts";

/** Translates a device's conf to keys of the whole configuration. */
type LpcParser = (config: ConfigNode, conf: string, name: string) => void;

function bootrom(config: ConfigNode, conf: string): void {
  const [rom, rest] = splitFirst(conf);
  if (rom === "") {
    throw refuse(STATUS.ERROR, `invalid bootrom option '${conf}'`);
  }
  config.set("bootrom", rom);
  const [variables] = splitFirst(rest);
  if (variables !== "") config.set("bootvars", variables);
}

function serialPort(config: ConfigNode, conf: string, name: string): void {
  config.set(`lpc.${name}.path`, conf);
}

const TPM_TYPES: readonly string[] = ["passthru", "swtpm"];

function tpm(config: ConfigNode, conf: string): void {
  const [type, rest] = splitFirst(conf);
  const [path, settings] = splitFirst(rest);
  if (!TPM_TYPES.includes(type)) {
    throw refuse(STATUS.ERROR, `invalid tpm type '${type}'`);
  }
  if (path === "") throw refuse(STATUS.ERROR, `invalid tpm path '${path}'`);
  const node = config.node("tpm");
  node.set("type", type);
  node.set("path", path);
  parseSettings(node, settings);
}

function testDevice(config: ConfigNode): void {
  config.set("lpc.pc-testdev", true);
}

/** Every device's name, in the order of `-l help`. */
export const LPC_DEVICES: ReadonlyMap<string, LpcParser> = new Map([
  ["bootrom", bootrom],
  ["com1", serialPort],
  ["com2", serialPort],
  ["com3", serialPort],
  ["com4", serialPort],
  ["tpm", tpm],
  ["pc-testdev", testDevice],
]);

const NEEDS_CONF = /^com[1-4]$/;

/** Adds a device. @throws {OptionError} for an unknown one or a bad conf */
export function addLpcDevice(config: ConfigNode, text: string): void {
  const [given, conf] = splitFirst(text);
  const name = given.toLowerCase();
  const parse = LPC_DEVICES.get(name);
  if (parse === undefined || (conf === "" && NEEDS_CONF.test(name))) {
    throw refuse(
      STATUS.USAGE,
      `invalid lpc device configuration '${text}'`,
    );
  }
  parse(config, conf, name);
}
