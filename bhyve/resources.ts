// What of the host a configuration names: disks, serial lines, files. The main thread
// opens or checks exactly these, and the machine's threads get no others.

import { FileBackend } from "../devices/block/file.ts";
import { type BlockOptions, blockOptions } from "../devices/block/options.ts";
import { locationText } from "../devices/pci/device.ts";
import { COM_PORTS } from "../devices/uart/com_port.ts";
import type { ConfigNode } from "../vmm/config.ts";
import { refuse, STATUS } from "./option_error.ts";
import { type PciFunctionNode, pciFunctions } from "./pci_functions.ts";
import { parseTty, type TtySpec } from "./tty/open.ts";

/** A serial line. */
export interface TtyResource {
  /** configuration key that names it */
  readonly key: string;
  /** what the configuration calls it */
  readonly text: string;
  readonly spec: TtySpec;
}

/** A disk's contents. */
export interface DiskResource extends BlockOptions {
  /** where its device is, for messages */
  readonly slot: string;
}

/** What a machine uses of the host. */
export interface Resources {
  readonly ttys: readonly TtyResource[];
  readonly disks: readonly DiskResource[];
}

/** A refusal of a serial line: which option, which value, what is wrong. */
export function ttyRefusal(key: string, text: string, reason: unknown): Error {
  const why = reason instanceof Error ? reason.message : String(reason);
  return refuse(STATUS.ERROR, `Cannot open ${key}=${text}: ${why}`);
}

function comPorts(config: ConfigNode): [key: string, text: string][] {
  return Object.keys(COM_PORTS).flatMap((name) => {
    const key = `lpc.${name}.path`;
    const text = config.get(key);
    return text === undefined ? [] : [[key, text]];
  });
}

function uarts(
  functions: readonly PciFunctionNode[],
): [key: string, text: string][] {
  return functions.flatMap(({ node, device }) => {
    const text = device === "uart" ? node.get("path") : undefined;
    return text === undefined ? [] : [[`${node.path}.path`, text]];
  });
}

function ttyOf(key: string, text: string): TtyResource {
  try {
    return { key, text, spec: parseTty(text) };
  } catch (error) {
    throw ttyRefusal(key, text, error);
  }
}

function requireDistinct(ttys: readonly TtyResource[]): void {
  for (const [n, { key, text }] of ttys.entries()) {
    const other = ttys.slice(0, n).find((tty) => tty.text === text);
    if (other === undefined) continue;
    throw ttyRefusal(key, text, `${other.key} has it already`);
  }
}

function diskRefusal(slot: string, error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error);
  return refuse(STATUS.ERROR, `pci slot ${slot}: ${why}`);
}

function diskOf({ location, node }: PciFunctionNode): DiskResource {
  const slot = locationText(location);
  try {
    return { ...blockOptions(node), slot };
  } catch (error) {
    throw diskRefusal(slot, error);
  }
}

/**
 * Opens every disk once, so that one that cannot be used is refused before anything is
 * done.
 *
 * @throws {OptionError}
 */
export function requireDisks({ disks }: Resources): void {
  for (const disk of disks) {
    try {
      new FileBackend(disk).close();
    } catch (error) {
      throw diskRefusal(disk.slot, error);
    }
  }
}

/**
 * What a configuration names.
 *
 * @param warn told of serial ports that the guest cannot see
 * @throws {OptionError} for what cannot be used as it is named
 */
export function resourcesOf(
  config: ConfigNode,
  warn: (message: string) => void,
): Resources {
  const functions = pciFunctions(config);
  const hasLpc = functions.some(({ device }) => device === "lpc");
  const coms = comPorts(config);
  if (!hasLpc) {
    for (const [key] of coms) {
      warn(`${key} has no effect without an LPC bridge (-s 31,lpc)`);
    }
  }
  const ttys = [...hasLpc ? coms : [], ...uarts(functions)]
    .map(([key, text]) => ttyOf(key, text));
  requireDistinct(ttys);
  const disks = functions.filter(({ device }) => device === "virtio-blk");
  return { ttys, disks: disks.map(diskOf) };
}
