// Translation of a guest's linear addresses by its page tables (Intel SDM vol. 3,
// chapter 4), outside of its execution: for VM_GLA2GPA and debuggers. As in vmm(4) a
// 32-bit walk takes CR4.PSE for granted, and reserved bits are not looked at.

import { type GuestPaging, PROT } from "./ioctl.ts";
import type { MappedMemory } from "./vmm_device.ts";

/** Where page tables are read and their accessed and dirty bits are set. */
export type TableMemory = Pick<MappedMemory, "view">;

/** What became of a translation; `errorCode` is the page fault's. */
export type WalkResult =
  | { readonly kind: "address"; readonly gpa: bigint }
  | { readonly kind: "fault"; readonly errorCode: number }
  /** a table that is not in memory */
  | { readonly kind: "bad" };

const PTE = {
  PRESENT: 1n,
  WRITABLE: 2n,
  USER: 4n,
  ACCESSED: 0x20n,
  DIRTY: 0x40n,
  LARGE: 0x80n,
} as const;
const NX = 1n << 63n;
const ERROR = { PRESENT: 1, WRITE: 2, USER: 4, FETCH: 16 } as const;
const PRIVILEGE_USER = 3;
const PAGE_MASK = 0x000f_ffff_ffff_f000n;
const PAGE_MASK_32 = 0xffff_f000n;

interface Level {
  /** lowest bit of the linear address that selects an entry */
  readonly shift: bigint;
  /** bits of the index */
  readonly bits: bigint;
  /** whether an entry with PS set maps a page */
  readonly large: boolean;
}

interface Format {
  /** bytes of an entry */
  readonly entry: 4 | 8;
  /** bits of CR3 that are the table's address */
  readonly root: bigint;
  /** whether entries of the first level have permissions */
  readonly topIsPlain: boolean;
  /** bits of a linear address that count */
  readonly address: bigint;
  readonly levels: readonly Level[];
}

function level(shift: number, bits: number, large = false): Level {
  return { shift: BigInt(shift), bits: BigInt(bits), large };
}

const LOW = [level(21, 9, true), level(12, 9)];
const FOUR = [level(39, 9), level(30, 9, true), ...LOW];
const ALL = (1n << 64n) - 1n;
const LONG = {
  entry: 8,
  root: PAGE_MASK,
  topIsPlain: false,
  address: ALL,
} as const;

/** Page table formats by `paging_mode`; flat is none. */
const FORMATS: readonly (Format | undefined)[] = [
  undefined,
  {
    entry: 4,
    root: PAGE_MASK_32,
    topIsPlain: false,
    address: 0xffff_ffffn,
    levels: [level(22, 10, true), level(12, 10)],
  },
  {
    entry: 8,
    root: 0xffff_ffe0n,
    topIsPlain: true,
    address: 0xffff_ffffn,
    levels: [level(30, 2), ...LOW],
  },
  { ...LONG, levels: FOUR },
  { ...LONG, levels: [level(48, 9), ...FOUR] },
];

function entryView(
  memory: TableMemory,
  gpa: bigint,
  bytes: number,
): DataView | undefined {
  const view = memory.view(Number(gpa), bytes);
  return view && new DataView(view.buffer, view.byteOffset, bytes);
}

function readEntry(view: DataView, bytes: 4 | 8): bigint {
  return bytes === 8
    ? view.getBigUint64(0, true)
    : BigInt(view.getUint32(0, true));
}

function writeEntry(view: DataView, bytes: 4 | 8, value: bigint): void {
  if (bytes === 8) view.setBigUint64(0, value, true);
  else view.setUint32(0, Number(value), true);
}

// PSE-36 has address bits 39:32 of a 4 MiB page in bits 20:13.
function pageBase(format: Format, { shift }: Level, entry: bigint): bigint {
  const low = (1n << shift) - 1n;
  if (format.entry === 8) return entry & PAGE_MASK & ~low;
  const high = shift > 12n ? (entry >> 13n & 0xffn) << 32n : 0n;
  return (entry & PAGE_MASK_32 & ~low) | high;
}

/** Whether a translation marks the tables as the guest's own access would. */
export interface WalkOptions {
  readonly marks: boolean;
}

/** An access that is translated. */
interface Walk {
  readonly memory: TableMemory;
  readonly format: Format;
  readonly isUser: boolean;
  readonly isWrite: boolean;
  readonly isFetch: boolean;
  readonly marks: boolean;
}

function walkOf(
  memory: TableMemory,
  format: Format,
  access: { readonly cpl: number; readonly prot: number },
  { marks }: WalkOptions,
): Walk {
  return {
    memory,
    format,
    isUser: access.cpl === PRIVILEGE_USER,
    isWrite: (access.prot & PROT.WRITE) !== 0,
    isFetch: (access.prot & PROT.EXEC) !== 0,
    marks,
  };
}

function fault({ isUser, isWrite, isFetch }: Walk, present: number) {
  const errorCode = present | (isWrite ? ERROR.WRITE : 0) |
    (isUser ? ERROR.USER : 0) | (isFetch ? ERROR.FETCH : 0);
  return { kind: "fault", errorCode } as const;
}

function isDenied({ isUser, isWrite, isFetch }: Walk, entry: bigint): boolean {
  return (isUser && (entry & PTE.USER) === 0n) ||
    (isWrite && (entry & PTE.WRITABLE) === 0n) ||
    (isFetch && (entry & NX) !== 0n);
}

/** An entry that maps a page or leads to a table, or why there is none. */
type Step = WalkResult | { readonly kind: "entry"; readonly entry: bigint };

// Looks at one level: `where` is its entry's address.
function step(
  walk: Walk,
  where: bigint,
  isPlain: boolean,
  isPage: (entry: bigint) => boolean,
): Step {
  const bytes = walk.format.entry;
  const view = entryView(walk.memory, where, bytes);
  if (view === undefined) return { kind: "bad" };
  const entry = readEntry(view, bytes);
  if ((entry & PTE.PRESENT) === 0n) return fault(walk, 0);
  if (isPlain) return { kind: "entry", entry };
  if (isDenied(walk, entry)) return fault(walk, ERROR.PRESENT);
  if (walk.marks) {
    const dirty = walk.isWrite && isPage(entry) ? PTE.DIRTY : 0n;
    writeEntry(view, bytes, entry | PTE.ACCESSED | dirty);
  }
  return { kind: "entry", entry };
}

function descend(walk: Walk, cr3: bigint, gla: bigint): WalkResult {
  const { format } = walk;
  const address = gla & format.address;
  let table = cr3 & format.root;
  for (const [n, level] of format.levels.entries()) {
    const isLast = n === format.levels.length - 1;
    const isPage = (entry: bigint) =>
      isLast || (level.large && (entry & PTE.LARGE) !== 0n);
    const index = address >> level.shift & ((1n << level.bits) - 1n);
    const where = table + index * BigInt(format.entry);
    const found = step(walk, where, n === 0 && format.topIsPlain, isPage);
    if (found.kind !== "entry") return found;
    if (isPage(found.entry)) {
      const offset = address & ((1n << level.shift) - 1n);
      const base = pageBase(format, level, found.entry);
      return { kind: "address", gpa: base | offset };
    }
    table = found.entry & (format.entry === 8 ? PAGE_MASK : PAGE_MASK_32);
  }
  return { kind: "bad" };
}

/**
 * Translates a linear address.
 *
 * @param prot the access: `PROT` bits
 */
export function gla2gpa(
  memory: TableMemory,
  paging: GuestPaging,
  gla: bigint,
  prot: number,
  options: WalkOptions,
): WalkResult {
  const format = FORMATS[paging.paging_mode];
  if (format === undefined) return { kind: "address", gpa: gla };
  const access = { cpl: paging.cpl, prot };
  const walk = walkOf(memory, format, access, options);
  return descend(walk, paging.cr3, gla);
}
