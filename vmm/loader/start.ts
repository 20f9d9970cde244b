// The state in which a loader leaves the boot vCPU, as plain data, and the common
// starting points: flat 32-bit protected mode and 64-bit mode (Intel SDM vol. 3,
// sections 3.4 and 4.5).

import type { SegmentDescriptor } from "../cpu/cpu.ts";
import { REGISTER, type RegisterNumber } from "../cpu/registers.ts";
import { ByteWriter } from "../firmware/bytes.ts";
import type { GuestRam } from "./guest_ram.ts";

/** Registers and descriptors to set; everything else is as after reset. */
export interface StartState {
  readonly registers: readonly (readonly [RegisterNumber, bigint])[];
  readonly descriptors: readonly (readonly [
    RegisterNumber,
    SegmentDescriptor,
  ])[];
}

/** What a state is applied to: a virtual CPU. */
export interface StartTarget {
  setRegister(register: RegisterNumber, value: bigint): void;
  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void;
}

/** Puts a virtual CPU into a state. */
export function applyStart(target: StartTarget, state: StartState): void {
  for (const [register, value] of state.registers) {
    target.setRegister(register, value);
  }
  for (const [register, descriptor] of state.descriptors) {
    target.setDescriptor(register, descriptor);
  }
}

/** Where the structures of the start lie, all below the command line's. */
export const BOOT_AREA = {
  GDT: 0x1000,
  ZERO_PAGE: 0x2000,
  PML4: 0x3000,
  PDPT: 0x4000,
  PAGE_DIRECTORIES: 0x5000,
  STACK_TOP: 0x1_0000,
  COMMAND_LINE: 0x1_0000,
  COMMAND_LINE_MAX: 0x1_0000,
  INFORMATION: 0x2_0000,
} as const;

const FLAT_LIMIT = 0xffff_ffff;
const GDT_CODE_32 = 0x00cf_9b00_0000_ffffn;
const GDT_CODE_64 = 0x00af_9b00_0000_ffffn;
const GDT_DATA = 0x00cf_9300_0000_ffffn;
/** Selectors that Linux' protocol prescribes; the others accept any. */
const CODE_SELECTOR = 0x10n;
const DATA_SELECTOR = 0x18n;
const GDT_ENTRIES = 4;
const ACCESS = {
  CODE_32: 0xc09b,
  CODE_64: 0xa09b,
  DATA: 0xc093,
  BUSY_TSS: 0x8b,
  UNUSABLE: 0x1_0000,
} as const;

const DATA_SEGMENTS = [
  ...[REGISTER.DS, REGISTER.ES, REGISTER.FS, REGISTER.GS],
  REGISTER.SS,
] as const;

function segments(codeAccess: number): StartState["descriptors"] {
  const flat = { base: 0n, limit: FLAT_LIMIT };
  const data = { ...flat, access: ACCESS.DATA };
  return [
    [REGISTER.CS, { ...flat, access: codeAccess }],
    ...DATA_SEGMENTS.map((register) => [register, data] as const),
    [REGISTER.TR, { base: 0n, limit: 0x67, access: ACCESS.BUSY_TSS }],
    [REGISTER.LDTR, { base: 0n, limit: 0, access: ACCESS.UNUSABLE }],
    [REGISTER.GDTR, {
      base: BigInt(BOOT_AREA.GDT),
      limit: 8 * GDT_ENTRIES - 1,
      access: 0,
    }],
    [REGISTER.IDTR, { base: 0n, limit: 0, access: 0 }],
  ];
}

/** Initial values of general registers by name; others are 0. */
export type InitialRegisters = Partial<
  Record<"RAX" | "RBX" | "RSI" | "RSP", number>
>;

const GENERAL = [
  ...["RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP"] as const,
];

function registers(
  control: readonly (readonly [RegisterNumber, bigint])[],
  entry: number | bigint,
  initial: InitialRegisters,
): StartState["registers"] {
  const values: Partial<Record<string, number>> = initial;
  return [
    ...control,
    [REGISTER.RFLAGS, 2n],
    [REGISTER.CS, CODE_SELECTOR],
    ...DATA_SEGMENTS.map((register) => [register, DATA_SELECTOR] as const),
    [REGISTER.TR, 0n],
    [REGISTER.LDTR, 0n],
    ...GENERAL.map((name) =>
      [REGISTER[name], BigInt(values[name] ?? 0)] as const
    ),
    [REGISTER.RIP, BigInt(entry)],
  ];
}

function putGdt(ram: GuestRam, code: bigint): void {
  const table = new ByteWriter().u64(0).u64(0).u64(code).u64(GDT_DATA);
  ram.put("the GDT", BOOT_AREA.GDT, table.finish());
}

const CR0_PROTECTED = 0x31n;
const CR0_PAGING = 0x8000_0031n;
const CR4_PAE = 0x20n;
const EFER_LONG = 0x500n;

/** Flat 32-bit protected mode without paging; puts a GDT into memory. */
export function start32(
  ram: GuestRam,
  entry: number,
  initial: InitialRegisters,
): StartState {
  putGdt(ram, GDT_CODE_32);
  const control = [
    [REGISTER.EFER, 0n],
    [REGISTER.CR4, 0n],
    [REGISTER.CR3, 0n],
    [REGISTER.CR0, CR0_PROTECTED],
  ] as const;
  return {
    registers: registers(control, entry, initial),
    descriptors: segments(ACCESS.CODE_32),
  };
}

const PRESENT_WRITABLE = 3;
const LARGE_PAGE = 0x83;
const LARGE_BYTES = 2 ** 21;
const DIRECTORIES = 4;
const PAGE = 4096;

// The first 4 GiB at their own addresses.
function putIdentityMap(ram: GuestRam): void {
  const { PML4, PDPT, PAGE_DIRECTORIES } = BOOT_AREA;
  const tables = new ByteWriter().u64(PDPT | PRESENT_WRITABLE)
    .zeros(PAGE - 8);
  for (let n = 0; n < DIRECTORIES; n++) {
    tables.u64((PAGE_DIRECTORIES + n * PAGE) | PRESENT_WRITABLE);
  }
  tables.zeros(PAGE - 8 * DIRECTORIES);
  for (let n = 0; n < DIRECTORIES * PAGE / 8; n++) {
    tables.u64(n * LARGE_BYTES + LARGE_PAGE);
  }
  ram.put("the page tables", PML4, tables.finish());
}

/** 64-bit mode, the first 4 GiB mapped to themselves; puts tables into memory. */
export function start64(
  ram: GuestRam,
  entry: number | bigint,
  initial: InitialRegisters,
): StartState {
  putGdt(ram, GDT_CODE_64);
  putIdentityMap(ram);
  const control = [
    [REGISTER.EFER, EFER_LONG],
    [REGISTER.CR4, CR4_PAE],
    [REGISTER.CR3, BigInt(BOOT_AREA.PML4)],
    [REGISTER.CR0, CR0_PAGING],
  ] as const;
  return {
    registers: registers(control, entry, initial),
    descriptors: segments(ACCESS.CODE_64),
  };
}
