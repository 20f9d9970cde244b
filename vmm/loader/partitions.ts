// The partitions of a disk image, the likeliest to hold FreeBSD first, as its loader
// looks for them: a BSD label, a GPT, the slices of an MBR with labels in them. No
// extended partitions, which FreeBSD does not boot from.

import { readGpt, SECTOR } from "./gpt.ts";
import type { DiskImage } from "./image.ts";

/** A part of a disk that may hold a file system. */
export interface Partition {
  /** such as `p2` of a GPT, `s1a` of a slice with a label, `s1`, `a` */
  readonly name: string;
  /** what its table says that it is, such as `freebsd-ufs` */
  readonly type: string;
  /** undefined where it begins behind the image's end */
  readonly image: DiskImage | undefined;
}

const GPT_TYPES: Readonly<Record<string, string>> = {
  "516e7cb4-6ecf-11d6-8ff8-00022d09712b": "freebsd",
  "516e7cb5-6ecf-11d6-8ff8-00022d09712b": "freebsd-swap",
  "516e7cb6-6ecf-11d6-8ff8-00022d09712b": "freebsd-ufs",
  "516e7cba-6ecf-11d6-8ff8-00022d09712b": "freebsd-zfs",
  "83bd6b9d-7f41-11dc-be0b-001560b84f0f": "freebsd-boot",
  "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "efi",
  "0fc63daf-8483-4772-8e79-3d69d8477de4": "linux",
};

const LABEL_TYPES: Readonly<Record<number, string>> = {
  1: "freebsd-swap",
  7: "freebsd-ufs",
  27: "freebsd-zfs",
};

const SLICE_FREEBSD = 0xa5;
const SLICE_PROTECTIVE = 0xee;
const SLICE_ACTIVE = 0x80;
const SLICES_AT = 446;
const SLICE_BYTES = 16;
const SLICES = 4;
const BOOT_MAGIC = 0xaa55;

/** Offsets in a BSD label, which is in a disk's or slice's second sector. */
const LABEL = {
  MAGIC: 0,
  SECTOR_SIZE: 40,
  MAGIC2: 132,
  COUNT: 138,
  PARTITIONS: 148,
} as const;
const LABEL_MAGIC = 0x8256_4557;
const LABEL_ENTRY = 16;
const LABEL_MOST = 20;
/** The partition for all of the slice: what offsets are counted from. */
const RAW = 2;

function part(
  image: DiskImage,
  name: string,
  type: string,
  range: { readonly start: number; readonly length: number },
): Partition {
  const { start, length } = range;
  return { name, type, image: image.part(image.name + name, start, length) };
}

/** The partitions of a BSD label, undefined where there is none. */
function labelled(image: DiskImage): Partition[] | undefined {
  const label = image.peek(SECTOR, SECTOR);
  const u32 = (at: number) => label?.getUint32(at, true) ?? 0;
  if (label === undefined || u32(LABEL.MAGIC) !== LABEL_MAGIC) return undefined;
  const count = label.getUint16(LABEL.COUNT, true);
  const isSound = u32(LABEL.MAGIC2) === LABEL_MAGIC && count <= LABEL_MOST &&
    u32(LABEL.SECTOR_SIZE) === SECTOR;
  if (!isSound) return undefined;
  const at = (n: number) => LABEL.PARTITIONS + n * LABEL_ENTRY;
  const base = count > RAW ? u32(at(RAW) + 4) : 0;
  return Array.from({ length: count }, (_, n) => n)
    .filter((n) => n !== RAW && u32(at(n)) > 0)
    .map((n) => {
      const name = String.fromCharCode("a".charCodeAt(0) + n);
      const type = LABEL_TYPES[label.getUint8(at(n) + 12)] ?? "unknown";
      const start = (u32(at(n) + 4) - base) * SECTOR;
      return part(image, name, type, { start, length: u32(at(n)) * SECTOR });
    });
}

interface Slice {
  readonly index: number;
  readonly type: number;
  readonly isActive: boolean;
  readonly start: number;
  readonly length: number;
}

function slices(image: DiskImage): Slice[] {
  const sector = image.peek(0, SECTOR);
  if (sector?.getUint16(SECTOR - 2, true) !== BOOT_MAGIC) return [];
  const flags = (n: number) => sector.getUint8(SLICES_AT + n * SLICE_BYTES);
  const numbers = Array.from({ length: SLICES }, (_, n) => n);
  // a boot sector without a table has code there
  if (numbers.some((n) => (flags(n) & ~SLICE_ACTIVE) !== 0)) return [];
  return numbers.map((n) => {
    const at = SLICES_AT + n * SLICE_BYTES;
    return {
      index: n + 1,
      type: sector.getUint8(at + 4),
      isActive: flags(n) === SLICE_ACTIVE,
      start: sector.getUint32(at + 8, true) * SECTOR,
      length: sector.getUint32(at + 12, true) * SECTOR,
    };
  }).filter(({ type, length }) => type !== 0 && length > 0);
}

function typeOfSlice(type: number): string {
  return type === SLICE_FREEBSD ? "freebsd" : `type 0x${type.toString(16)}`;
}

// A slice's own partitions come before the slice, which may hold a file system
// without a label.
function withLabel(slice: Partition): Partition[] {
  const inside = slice.type === "freebsd" && slice.image !== undefined
    ? labelled(slice.image) ?? []
    : [];
  return [
    ...byLikelihood(inside)
      .map((p) => ({ ...p, name: `${slice.name}${p.name}` })),
    slice,
  ];
}

/** Those that hold UFS first; the order is the table's otherwise. */
function byLikelihood(partitions: readonly Partition[]): Partition[] {
  const rank = ({ type }: Partition) =>
    ["freebsd-ufs", "freebsd"].indexOf(type) >>> 0;
  return partitions.toSorted((a, b) => rank(a) - rank(b));
}

function ofGpt(image: DiskImage): Partition[] {
  const entries = readGpt(image) ?? [];
  return byLikelihood(entries.map((entry) => {
    const type = GPT_TYPES[entry.type] ?? entry.type;
    return part(image, `p${entry.index}`, type, entry);
  })).flatMap(withLabel);
}

function ofMbr(image: DiskImage, all: readonly Slice[]): Partition[] {
  const active = all.toSorted((a, b) =>
    Number(b.isActive) - Number(a.isActive)
  );
  return byLikelihood(
    active.map((slice) =>
      part(image, `s${slice.index}`, typeOfSlice(slice.type), slice)
    ),
  ).flatMap(withLabel);
}

/** The partitions of a disk in the order in which to look at them. */
export function partitionsOf(image: DiskImage): Partition[] {
  const label = labelled(image);
  if (label !== undefined) return byLikelihood(label);
  const all = slices(image);
  return all.some(({ type }) => type === SLICE_PROTECTIVE)
    ? ofGpt(image)
    : ofMbr(image, all);
}
