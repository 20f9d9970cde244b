// The keys of a block device (bhyve-options.md section 9.3): path, nocache, direct or
// sync, ro, sectorsize, nodelete, bootindex. Only these are checked here; what the host
// has at the path shows on opening it.

import { booleanKey, type ConfigNode } from "../config_node.ts";
import { BlockError } from "./backend.ts";

/** Keys that every block device has, with what they mean. */
export const BLOCK_KEYS: Readonly<Record<string, string>> = {
  path: "file or device that holds the contents",
  nocache: "bypass the host's cache",
  direct: "write through to the disk at each request",
  sync: "the same as direct",
  ro: "refuse writes",
  sectorsize: "logical[/physical] sector size in bytes",
  nodelete: "offer no discard",
  bootindex: "place in the firmware's boot order",
};

/** Sector sizes in bytes. */
export interface SectorSizes {
  /** what requests are multiples of */
  readonly logical: number;
  /** what the medium writes at once */
  readonly physical: number;
}

/** How to open a disk's contents. */
export interface BlockOptions {
  /** file or device */
  readonly path: string;
  /** whether writes are refused */
  readonly readOnly: boolean;
  /** whether each write reaches the medium before it ends */
  readonly writeThrough: boolean;
  /** whether the host's cache is to be bypassed */
  readonly noCache: boolean;
  /** whether discarding is refused */
  readonly noDelete: boolean;
  /** sizes that replace the medium's own */
  readonly sectors?: SectorSizes;
}

const LEAST_SECTOR = 512;

function sectorSize(text: string): number {
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
  const fits = value >= LEAST_SECTOR && (value & (value - 1)) === 0;
  return fits ? value : 0;
}

/** `logical[/physical]`. @throws {BlockError} */
export function parseSectorSize(text: string): SectorSizes {
  const [first = "", second = first, ...more] = text.split("/");
  const logical = sectorSize(first);
  const physical = sectorSize(second);
  if (logical === 0 || physical < logical || more.length > 0) {
    throw new BlockError(`Invalid sector size "${text}"`);
  }
  return { logical, physical };
}

/** The options of a device. @throws {BlockError} */
export function blockOptions(node: ConfigNode): BlockOptions {
  const path = node.get("path");
  if (path === undefined || path === "") {
    throw new BlockError('Missing "path" for block device.');
  }
  const sectors = node.get("sectorsize");
  return {
    path,
    readOnly: booleanKey(node, "ro"),
    writeThrough: booleanKey(node, "direct") || booleanKey(node, "sync"),
    noCache: booleanKey(node, "nocache"),
    noDelete: booleanKey(node, "nodelete"),
    ...sectors === undefined ? {} : { sectors: parseSectorSize(sectors) },
  };
}
