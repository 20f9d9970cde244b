// The superblock of UFS1 and UFS2 (FreeBSD, fs(5)): where it may lie, and what of it
// reading needs, checked. Little-endian only.

import type { DiskImage } from "./image.ts";

/** What of a superblock reading needs. */
export interface UfsGeometry {
  readonly version: 1 | 2;
  /** bytes of a block */
  readonly blockSize: number;
  /** bytes of a fragment, the unit of addresses */
  readonly fragmentSize: number;
  /** fragments of a block */
  readonly fragmentsPerBlock: number;
  /** fragments of the file system */
  readonly size: number;
  readonly groups: number;
  readonly fragmentsPerGroup: number;
  readonly inodesPerGroup: number;
  /** fragment of the first inode, counted from the group's start */
  readonly inodeOffset: number;
  /** UFS1 moves the groups' starts: by `cycle` times what `mask` leaves */
  readonly cycle: number;
  readonly mask: number;
  /** links shorter than this are in the inode */
  readonly inlineLinkMax: number;
}

const PLACES = [65536, 8192, 0, 262144] as const;
const MAGIC_AT = 1372;
const BYTES = 1376;
const MAGIC = { UFS1: 0x01_1954, UFS2: 0x1954_0119 } as const;
const SWAPPED: readonly number[] = [0x5419_0100, 0x1901_5419];
const UFS1_PLACE_MAX = 8192;
/** Offsets of fields that do not differ. */
const FIELD = {
  IBLKNO: 16,
  OLD_CGOFFSET: 24,
  OLD_CGMASK: 28,
  OLD_SIZE: 36,
  NCG: 44,
  BSIZE: 48,
  FSIZE: 52,
  IPG: 184,
  FPG: 188,
  SBLOCKLOC: 1000,
  SIZE: 1080,
  MAXSYMLINKLEN: 1320,
} as const;

interface Found {
  readonly version: 1 | 2;
  readonly fields: DataView;
}

// A UFS1 with large blocks has a copy where UFS2 has its superblock, and the other
// way round; each says in itself where it lies.
function isAt(place: number, fields: DataView): Found | undefined {
  const magic = fields.getUint32(MAGIC_AT, true);
  const says = fields.getBigInt64(FIELD.SBLOCKLOC, true);
  if (magic === MAGIC.UFS2 && says === BigInt(place)) {
    return { version: 2, fields };
  }
  return magic === MAGIC.UFS1 && place <= UFS1_PLACE_MAX
    ? { version: 1, fields }
    : undefined;
}

function find(image: DiskImage): Found | undefined {
  for (const place of PLACES) {
    const fields = image.peek(place, BYTES);
    if (fields === undefined) continue;
    if (SWAPPED.includes(fields.getUint32(MAGIC_AT, true))) {
      throw image.error("UFS", "it is big-endian, expected little-endian");
    }
    const found = isAt(place, fields);
    if (found !== undefined) return found;
  }
  return undefined;
}

interface Limit {
  readonly name: string;
  readonly value: number;
  readonly least: number;
  readonly most: number;
  readonly isPower?: boolean;
}

const MOST = 2 ** 31 - 1;
const BLOCK = { least: 4096, most: 65536, isPower: true };
const FRAGMENT_LEAST = 512;
const FRAGMENTS_MOST = 8;

function limits(g: UfsGeometry): Limit[] {
  const fragment = {
    least: Math.max(FRAGMENT_LEAST, g.blockSize / FRAGMENTS_MOST),
    most: g.blockSize,
    isPower: true,
  };
  const count = { least: 1, most: MOST };
  return [
    { name: "block size", value: g.blockSize, ...BLOCK },
    { name: "fragment size", value: g.fragmentSize, ...fragment },
    { name: "size in fragments", value: g.size, least: 1, most: 2 ** 52 },
    { name: "number of groups", value: g.groups, ...count },
    { name: "size of a group", value: g.fragmentsPerGroup, ...count },
    { name: "inodes of a group", value: g.inodesPerGroup, ...count },
    { name: "place of inodes", value: g.inodeOffset, ...count },
  ];
}

function check(image: DiskImage, geometry: UfsGeometry): UfsGeometry {
  for (const { name, value, least, most, isPower } of limits(geometry)) {
    const isWanted = isPower !== true || Number.isInteger(Math.log2(value));
    if (value >= least && value <= most && isWanted) continue;
    const what = isPower === true ? "a power of two from " : "";
    throw image.error(
      `UFS${geometry.version}`,
      `its ${name} is ${value}, expected ${what}${least} to ${most}`,
    );
  }
  return geometry;
}

/** Bytes in an inode where a link's target may lie. */
const INLINE_MAX = { 1: 60, 2: 120 } as const;

/**
 * The file system's geometry, undefined where the image has no UFS.
 *
 * @throws {LoaderError} where it has one that makes no sense
 */
export function readUfsGeometry(image: DiskImage): UfsGeometry | undefined {
  const found = find(image);
  if (found === undefined) return undefined;
  const { version, fields } = found;
  const u32 = (offset: number) => fields.getUint32(offset, true);
  const [blockSize, fragmentSize] = [u32(FIELD.BSIZE), u32(FIELD.FSIZE)];
  return check(image, {
    version,
    blockSize,
    fragmentSize,
    fragmentsPerBlock: blockSize / fragmentSize,
    size: version === 1
      ? u32(FIELD.OLD_SIZE)
      : Number(fields.getBigInt64(FIELD.SIZE, true)),
    groups: u32(FIELD.NCG),
    fragmentsPerGroup: u32(FIELD.FPG),
    inodesPerGroup: u32(FIELD.IPG),
    inodeOffset: u32(FIELD.IBLKNO),
    cycle: version === 1 ? u32(FIELD.OLD_CGOFFSET) : 0,
    mask: version === 1 ? u32(FIELD.OLD_CGMASK) : 0,
    inlineLinkMax: Math.min(u32(FIELD.MAXSYMLINKLEN), INLINE_MAX[version]),
  });
}
