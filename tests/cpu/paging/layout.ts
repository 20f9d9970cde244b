// The kinds of paging that programs are made for, and where things lie in memory: what
// programs work on is a window of two stretches of linear addresses, the second of which
// may be one large page, on few frames, so that many pages share one.

import { AT } from "../../../vmm/cpu/system_testing.ts";
import type { ModeName, PagingName } from "../../../vmm/cpu/testing.ts";

/** A kind of paging. */
export interface Kind {
  readonly mode: ModeName;
  readonly tables: Exclude<PagingName, "none">;
  /** bytes of an entry */
  readonly entry: 4 | 8;
  /** bytes of a large page */
  readonly large: number;
  /** whether address spaces have PCIDs */
  readonly hasPcids: boolean;
}

const LONG: Kind = {
  mode: "long",
  tables: "long",
  entry: 8,
  large: 0x20_0000,
  hasPcids: false,
};

/** The kinds by name. */
export const KINDS = {
  "64-bit": LONG,
  "64-bit with PCIDs": { ...LONG, hasPcids: true },
  "PAE": { ...LONG, mode: "protected32", tables: "pae" },
  "32-bit": {
    ...LONG,
    mode: "protected32",
    tables: "legacy",
    entry: 4,
    large: 0x40_0000,
  },
} as const satisfies Readonly<Record<string, Kind>>;

/** Where things lie: linear addresses are physical ones but in the window. */
export const LAYOUT = {
  /** a word that counts the exceptions that were handled */
  FAULTS: 0x6000,
  /** operands of INVPCID */
  DESCRIPTORS: 0x6400,
  /** tops of the kernel's stack and of the user's */
  KERNEL_STACK: AT.STACK0,
  USER_STACK: AT.STACK,
  KERNEL_CODE: 0x2_0000,
  /** the handlers of faults, and of the interrupt that enters the kernel */
  HANDLER: 0x2_f000,
  /** the first one's, after it put a zero where others have an error code */
  HANDLER_OF_UD: 0x2_effe,
  SERVICE: 0x2_f100,
  USER_CODE: 0x3_0000,
  END_OF_CODE: 0x4_0000,
  /** page tables; a space may take so much of it */
  TABLES: 0x40_0000,
  TABLES_OF_SPACE: 0x1_0000,
  /** a large page, of which the window's frames are the first */
  FRAMES: 0x80_0000,
  END: 0xc0_0000,
  WINDOW: 0x4000_0000,
} as const;

/** Pages in each of the window's stretches. */
export const PAGES = 3;
/** Frames that they are mapped to. */
export const FRAMES = 4;
/** Most address spaces: more than the TLB has room for. */
export const MOST_SPACES = 6;
/** Where in a frame data lies, and where in it the bases of accesses are. */
export const DATA = {
  FIRST: 0x770,
  START: 0x800,
  END: 0xf00,
  LAST: 0xf40,
} as const;
/** Bytes of a page that its predecessor's last accesses may write as well. */
export const EDGE = 16;
