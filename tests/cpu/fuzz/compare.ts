// Compares what two executors made of a case. Only what `undefined.ts` lists, with its reasons,
// may differ; the rest of the state must agree to the bit.

import { Mnemonic } from "iced-x86";
import { type CpuOutcome, STACK_WINDOW_AT } from "../native/native.ts";
import type { FuzzCase, SnippetInstruction } from "./generator.ts";
import { FX } from "./fx_image.ts";
import {
  ALL_FLAGS,
  BIT_SCAN,
  IN_PARTS,
  LOG_BEYOND,
  LOG_RANGE,
  MANY_LOADS,
  MANY_STORES,
  MISALIGNED_SSE,
  MXCSR_LOADS,
  PARTIAL_REMAINDER,
  RECIPROCAL,
  STRING_COMPARES,
  TRANSCENDENTAL,
} from "./undefined.ts";

/** A part of the state in which two outcomes differ. */
export interface Difference {
  /** Register, field, or memory window with offset. */
  what: string;
  expected: string;
  actual: string;
}

const GPR_NAMES = [
  ...[
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
  ],
  ...["r12", "r13", "r14", "r15"],
];
const FLAG_NAMES: readonly (readonly [number, string])[] = [
  ...[[0x1, "CF"], [0x4, "PF"], [0x10, "AF"], [0x40, "ZF"], [
    0x80,
    "SF",
  ]] as const,
  ...[[0x100, "TF"], [0x200, "IF"], [0x400, "DF"], [0x800, "OF"], [
    0x4000,
    "NT",
  ]] as const,
  ...[[0x10000, "RF"], [0x40000, "AC"], [0x200000, "ID"]] as const,
];
const ZF = 0x40;
/** Part of the image that a fault pushes, not of the state. */
const RF = 0x10000;
const C0_C1_C3 = 0x4300;
const C2 = 0x400;
/** C1, PE and UE: how an inexact result was rounded. */
const ROUNDING_STATUS = 0x230;
/** ES and B, which follow from the exceptions and their masks. */
const SUMMARY_STATUS = 0x8080;
const BREAKPOINT = 3;
const STACK_FAULT = 12;
const GENERAL_PROTECTION = 13;
const PAGE_FAULT = 14;
/** From here on, its TASK_SIZE_MAX, Linux hides from programs whether a page is present. */
const USER_END = 0x7fff_ffff_f000n;
const RECIPROCAL_TOLERANCE = 3 / 4096;
const LEAST_NORMAL = 2 ** -126;

/** The names of the flags that are set. */
export function flagNames(flags: number): string {
  return FLAG_NAMES.filter(([bit]) => flags & bit).map(([, name]) => name).join(
    " ",
  );
}

function hex(value: bigint | number, digits = 1): string {
  return value.toString(16).padStart(digits, "0");
}

/** A 128-bit register as 32 digits, most significant first. */
function hexBytes(bytes: Uint8Array, at: number, size: number): string {
  return Array.from(bytes.subarray(at, at + size), (byte) => hex(byte, 2))
    .reverse().join("");
}

class Comparison {
  readonly differences: Difference[] = [];
  /** The last instruction that ran to its end, and the one that did not. */
  readonly last: SnippetInstruction | undefined;
  readonly faulting: SnippetInstruction | undefined;
  readonly case: FuzzCase;
  readonly expected: CpuOutcome;
  readonly actual: CpuOutcome;

  constructor(test: FuzzCase, expected: CpuOutcome, actual: CpuOutcome) {
    this.case = test;
    this.expected = expected;
    this.actual = actual;
    const count = completed(test, expected);
    this.last = test.instructions[count - 1];
    this.faulting = test.instructions[count];
  }

  ran(mnemonics: ReadonlySet<number>): boolean {
    return this.case.instructions.some(({ form }) =>
      mnemonics.has(form.facts.mnemonic)
    );
  }

  /** Whether one of these was stopped where its memory operand may be half done. */
  isFaultIn(mnemonics: ReadonlySet<number>): boolean {
    const { expected: { vector }, faulting } = this;
    return faulting !== undefined &&
      (vector === PAGE_FAULT || faulting.beyondSegment) &&
      mnemonics.has(faulting.form.facts.mnemonic);
  }

  add(what: string, expected: string, actual: string): void {
    if (expected !== actual) this.differences.push({ what, expected, actual });
  }
}

/** How many instructions ran to their end. */
function completed(
  { instructions }: FuzzCase,
  { rip, vector }: CpuOutcome,
): number {
  // There is no INT3 in a snippet; the one before it leads to its first address.
  if (vector === BREAKPOINT) return instructions.length;
  const address = Number(rip);
  const first = instructions[0]!.address;
  const { address: last, length } = instructions.at(-1)!;
  // Anywhere else a branch must have led, and branches come last.
  if (address < first || address > last + length) return instructions.length;
  return instructions.filter((one) => one.address + one.length <= address)
    .length;
}

function compareEnd(comparison: Comparison): void {
  const { expected, actual } = comparison;
  comparison.add("vector", `${expected.vector}`, `${actual.vector}`);
  comparison.add("rip", hex(expected.rip), hex(actual.rip));
  const anyAddress = comparison.isFaultIn(MANY_STORES) ||
    comparison.isFaultIn(MANY_LOADS);
  if (!anyAddress) comparison.add("cr2", hex(expected.cr2), hex(actual.cr2));
  const ignored = expected.vector === PAGE_FAULT && expected.cr2 >= USER_END
    ? 1
    : 0;
  comparison.add(
    "error code",
    hex(expected.errorCode | ignored),
    hex(actual.errorCode | ignored),
  );
}

function compareFlags(comparison: Comparison): void {
  const { last, faulting, expected: { vector } } = comparison;
  const inComparison = vector !== BREAKPOINT && faulting?.repeats &&
    STRING_COMPARES.has(faulting.form.facts.mnemonic);
  const ignored = (last?.undefinedFlags ?? 0) | RF |
    (inComparison ? ALL_FLAGS : 0);
  const expected = Number(comparison.expected.rflags) & ~ignored;
  const actual = Number(comparison.actual.rflags) & ~ignored;
  if (expected !== actual) {
    const differ = expected ^ actual;
    comparison.add(
      `rflags (${flagNames(differ)})`,
      `${hex(expected, 6)} ${flagNames(expected)}`,
      `${hex(actual, 6)} ${flagNames(actual)}`,
    );
  }
}

/** The register of which only the low half is defined: a 32-bit bit scan found nothing. */
function halfDefined({ last, expected }: Comparison): number | undefined {
  const scan = last && BIT_SCAN.has(last.form.facts.mnemonic) &&
    last.form.facts.size === 4;
  return scan && Number(expected.rflags) & ZF ? last.registers[0] : undefined;
}

function compareGpr(comparison: Comparison): void {
  const half = halfDefined(comparison);
  GPR_NAMES.forEach((name, register) => {
    const mask = register === half ? 0xffffffffn : 0xffffffffffffffffn;
    const expected = comparison.expected.gpr[register]! & mask;
    const actual = comparison.actual.gpr[register]! & mask;
    if (expected !== actual) {
      comparison.add(name, hex(expected, 16), hex(actual, 16));
    }
  });
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function ignoredStatus(comparison: Comparison, expected: DataView): number {
  let ignored = comparison.last?.undefinedStatus ?? 0;
  const status = expected.getUint16(FX.status, true);
  if (comparison.ran(TRANSCENDENTAL)) {
    const masksAll =
      (~expected.getUint16(FX.control, true) & ROUNDING_STATUS & 0x3f) === 0;
    ignored |= ROUNDING_STATUS | (masksAll ? 0 : SUMMARY_STATUS);
  }
  return comparison.ran(PARTIAL_REMAINDER) && status & C2
    ? ignored | C0_C1_C3
    : ignored;
}

function compareControl(comparison: Comparison): void {
  const expected = view(comparison.expected.fx);
  const actual = view(comparison.actual.fx);
  const field = (name: string, at: number, ignored: number) => {
    const read = (from: DataView) =>
      hex(from.getUint16(at, true) & ~ignored, 4);
    comparison.add(name, read(expected), read(actual));
  };
  field("fcw", FX.control, 0);
  field("fsw", FX.status, ignoredStatus(comparison, expected));
  field("ftw", FX.tags, 0);
  field("mxcsr", FX.mxcsr, 0);
  // FOP, FIP and FDP are not compared: which instructions set them, and whether without an unmasked
  // exception, differs between AMD, Intel and Intel's generations. Nor is MXCSR_MASK, which says
  // whether the processor has misaligned SSE.
}

/** An 80-bit number's place among all of its sign, for distances in units of the last place. */
function ordinal(from: DataView, at: number): bigint {
  const significand = from.getBigUint64(at, true);
  const exponent = BigInt(from.getUint16(at + 8, true) & 0x7fff);
  // The integer bit is implied by the exponent, so neighbours are one apart across powers of two.
  return exponent << 63n | significand & 0x7fffffffffffffffn;
}

function isNearFloat80(
  expected: DataView,
  actual: DataView,
  at: number,
  tolerance: bigint,
): boolean {
  const sign = (from: DataView) => from.getUint8(at + 9) >> 7;
  const distance = ordinal(expected, at) - ordinal(actual, at);
  return sign(expected) === sign(actual) && distance >= -tolerance &&
    distance <= tolerance;
}

/** How far a transcendental result may be off, in units of the last place. */
function transcendentalTolerance({ case: { form, test } }: Comparison): bigint {
  if (form.facts.mnemonic !== Mnemonic.Fyl2xp1) return 1n;
  const fx = view(test.fx);
  const operand = fx.getUint16(FX.st + 8, true);
  const scale = 2 ** ((operand & 0x7fff) - 0x403e);
  const size = Number(fx.getBigUint64(FX.st, true)) * scale;
  const [least, greatest] = LOG_RANGE;
  return size > (operand & 0x8000 ? -least : greatest) ? LOG_BEYOND : 1n;
}

function isNearFloat32s(
  expected: DataView,
  actual: DataView,
  at: number,
): boolean {
  for (let lane = at; lane < at + 16; lane += 4) {
    if (expected.getUint32(lane, true) === actual.getUint32(lane, true)) {
      continue;
    }
    const wanted = expected.getFloat32(lane, true);
    const got = actual.getFloat32(lane, true);
    if (!isNearFloat32(wanted, got)) return false;
  }
  return true;
}

function isNearFloat32(wanted: number, got: number): boolean {
  if (Math.abs(wanted - got) <= Math.abs(wanted) * RECIPROCAL_TOLERANCE) {
    return true;
  }
  // Near the least normal number the error decides whether a result is tiny, and so zero.
  const size = Math.max(Math.abs(wanted), Math.abs(got));
  const sameSign = Object.is(Math.sign(1 / wanted), Math.sign(1 / got));
  return wanted * got === 0 && sameSign &&
    size <= LEAST_NORMAL * (1 + RECIPROCAL_TOLERANCE);
}

function compareRegisters(comparison: Comparison): void {
  const expected = comparison.expected.fx;
  const actual = comparison.actual.fx;
  const near80 = comparison.ran(TRANSCENDENTAL);
  const tolerance = transcendentalTolerance(comparison);
  const near32 = comparison.ran(RECIPROCAL);
  for (let register = 0; register < 8; register++) {
    const at = FX.st + register * 16;
    if (
      near80 && isNearFloat80(view(expected), view(actual), at, tolerance)
    ) continue;
    compareBytes(comparison, `st${register}`, expected, actual, at, 10);
  }
  for (let register = 0; register < 16; register++) {
    const at = FX.xmm + register * 16;
    if (near32 && isNearFloat32s(view(expected), view(actual), at)) continue;
    compareBytes(comparison, `xmm${register}`, expected, actual, at, 16);
  }
}

function compareBytes(
  comparison: Comparison,
  what: string,
  expected: Uint8Array,
  actual: Uint8Array,
  at: number,
  size: number,
): void {
  for (let byte = at; byte < at + size; byte++) {
    if (expected[byte] === actual[byte]) continue;
    return comparison.add(
      what,
      hexBytes(expected, at, size),
      hexBytes(actual, at, size),
    );
  }
}

/** Offsets into the data window of bytes that FXSAVE fills with what is the processor's own. */
function ignoredData(
  { case: { test, instructions } }: Comparison,
): (offset: number) => boolean {
  const save = instructions.find(({ form }) => /^Fxsave/.test(form.facts.name));
  if (save?.target === undefined) return () => false;
  const mask = save.target - test.dataBase + FX.mxcsr + 4;
  return (offset) => offset >= mask && offset < mask + 4;
}

function compareMemory(comparison: Comparison): void {
  if (comparison.isFaultIn(MANY_STORES)) return;
  const ignored = ignoredData(comparison);
  const compare = (name: string, expected: Uint8Array, actual: Uint8Array) => {
    const differs = (at: number) => expected[at] !== actual[at] && !ignored(at);
    let first = 0;
    while (first < expected.length && !differs(first)) first++;
    if (first === expected.length) return;
    let last = expected.length - 1;
    while (!differs(last)) last--;
    const size = Math.min(16, last - first + 1);
    const what = `${name}+${hex(first)}${
      last - first >= 16 ? ` to +${hex(last)}` : ""
    }`;
    comparison.add(
      what,
      hexBytes(expected, first, size),
      hexBytes(actual, first, size),
    );
  };
  compare("data", comparison.expected.data, comparison.actual.data);
  compare("stack", comparison.expected.stack, comparison.actual.stack);
}

/** The four bytes at a linear address, as far as the outcome's windows have them. */
function dwordAt(
  { test }: FuzzCase,
  { data, stack }: CpuOutcome,
  address: number,
): number | undefined {
  const windows = [[test.dataBase, data], [STACK_WINDOW_AT, stack]] as const;
  for (const [base, bytes] of windows) {
    const at = address - base;
    if (at >= 0 && at + 4 <= bytes.length) {
      return view(bytes).getUint32(at, true);
    }
  }
  return undefined;
}

/** Whether what was to be loaded into MXCSR sets the bit that one has and the other has not. */
function refusesMisalignedSse(
  { case: test, actual }: Comparison,
  { form, target }: SnippetInstruction,
): boolean {
  const offset = MXCSR_LOADS.get(form.facts.mnemonic);
  if (offset === undefined || target === undefined) return false;
  // It was not executed, so its operand is still there.
  const image = dwordAt(test, actual, target + offset);
  return image !== undefined && image >>> 16 === MISALIGNED_SSE >>> 16;
}

/** Whether `actual` may refuse an instruction that `expected` accepts or refuses otherwise. */
function mayRefuse(comparison: Comparison): boolean {
  const { case: { instructions }, actual, expected } = comparison;
  if (actual.vector === expected.vector) return false;
  const refused = instructions.find(({ address }) =>
    address === Number(actual.rip)
  );
  if (refused === undefined) return false;
  const isMany = IN_PARTS.test(refused.form.facts.name);
  switch (actual.vector) {
    case GENERAL_PROTECTION:
      return refusesMisalignedSse(comparison, refused) ||
        (isMany && refused.beyondSegment);
    case STACK_FAULT:
      return isMany && refused.beyondSegment;
    default:
      return false;
  }
}

/** All in which `actual` departs from `expected` without an architectural excuse. */
export function compareOutcomes(
  test: FuzzCase,
  expected: CpuOutcome,
  actual: CpuOutcome,
): Difference[] {
  const comparison = new Comparison(test, expected, actual);
  if (mayRefuse(comparison)) return [];
  compareEnd(comparison);
  compareFlags(comparison);
  compareGpr(comparison);
  compareControl(comparison);
  compareRegisters(comparison);
  compareMemory(comparison);
  return comparison.differences;
}
