// Registers of the local APIC (Intel SDM vol. 3, 11.4.1 and 11.12.1.2): numbered as in
// x2APIC mode (MSR 800h + n), which is the offset in xAPIC mode over 16.

/** Register numbers; ISR, TMR and IRR are runs of eight. */
export const APIC = {
  ID: 0x02,
  VERSION: 0x03,
  TPR: 0x08,
  APR: 0x09,
  PPR: 0x0a,
  EOI: 0x0b,
  RRD: 0x0c,
  LDR: 0x0d,
  DFR: 0x0e,
  SVR: 0x0f,
  ISR: 0x10,
  TMR: 0x18,
  IRR: 0x20,
  ESR: 0x28,
  LVT_CMCI: 0x2f,
  ICR_LOW: 0x30,
  ICR_HIGH: 0x31,
  LVT_TIMER: 0x32,
  LVT_THERMAL: 0x33,
  LVT_PMC: 0x34,
  LVT_LINT0: 0x35,
  LVT_LINT1: 0x36,
  LVT_ERROR: 0x37,
  TIMER_INITIAL: 0x38,
  TIMER_CURRENT: 0x39,
  TIMER_DIVIDE: 0x3e,
  SELF_IPI: 0x3f,
} as const;

/** How many register numbers there are. */
export const APIC_REGISTERS = 0x40;

/** Sources of local interrupts, as `vm_lapic_local_irq` numbers them. */
export const LOCAL_INTERRUPTS: readonly number[] = [
  APIC.LVT_LINT0,
  APIC.LVT_LINT1,
  APIC.LVT_TIMER,
  APIC.LVT_ERROR,
  APIC.LVT_PMC,
  APIC.LVT_THERMAL,
  APIC.LVT_CMCI,
];

/** Whether a register is an entry of the local vector table. */
export function isLvt(number: number): boolean {
  return LOCAL_INTERRUPTS.includes(number);
}

/** Bits of the LVT entries. */
export const LVT = { MASKED: 1 << 16, MODE_SHIFT: 8, TIMER_SHIFT: 17 } as const;

/** Vectors below are the processor's own. */
export const FIRST_VECTOR = 16;

/** Bits of SVR. */
export const SVR_ENABLED = 0x100;

/** Bits of ESR. */
export const ESR = {
  SEND_VECTOR: 1 << 5,
  RECEIVE_VECTOR: 1 << 6,
  REGISTER: 1 << 7,
} as const;

/** Version 10h, LVT entries 0 to 6, no suppression of EOI broadcasts. */
export const APIC_VERSION = 0x0006_0010;

/** Which ways a register is reached. */
export type RegisterAccess = "r" | "w" | "rw" | "-";

/** One register or run of registers. */
export interface ApicRegister {
  /** its number */
  readonly number: number;
  /** registers in the run: default 1 */
  readonly count?: number;
  /** by memory, in xAPIC mode */
  readonly xapic: RegisterAccess;
  /** by MSR, in x2APIC mode */
  readonly x2apic: RegisterAccess;
  /** bits that can be written; with x2APIC the others must be 0 */
  readonly writable: number;
}

const MASK = 0x1_0000;
const VECTOR = 0xff;
const MODE = 0x700;
// Polarity and trigger mode; delivery status and remote IRR are read-only.
const PIN = 0xa000;
const ALL = 0xffff_ffff;

const row = (
  number: number,
  xapic: RegisterAccess,
  x2apic: RegisterAccess,
  writable = 0,
  count = 1,
): ApicRegister => ({ number, xapic, x2apic, writable: writable >>> 0, count });

const ROWS: readonly ApicRegister[] = [
  row(APIC.ID, "r", "r"),
  row(APIC.VERSION, "r", "r"),
  row(APIC.TPR, "rw", "rw", 0xff),
  row(APIC.APR, "r", "-"),
  row(APIC.PPR, "r", "r"),
  row(APIC.EOI, "w", "w"),
  row(APIC.RRD, "r", "-"),
  row(APIC.LDR, "rw", "r", 0xff00_0000),
  row(APIC.DFR, "rw", "-", 0xf000_0000),
  row(APIC.SVR, "rw", "rw", 0x3ff),
  row(APIC.ISR, "r", "r", 0, 24),
  row(APIC.ESR, "rw", "rw"),
  row(APIC.LVT_CMCI, "rw", "rw", MASK | MODE | VECTOR),
  row(APIC.ICR_LOW, "rw", "rw", 0xc_cfff),
  row(APIC.ICR_HIGH, "rw", "-", 0xff00_0000),
  row(APIC.LVT_TIMER, "rw", "rw", 0x6_0000 | MASK | VECTOR),
  row(APIC.LVT_THERMAL, "rw", "rw", MASK | MODE | VECTOR),
  row(APIC.LVT_PMC, "rw", "rw", MASK | MODE | VECTOR),
  row(APIC.LVT_LINT0, "rw", "rw", MASK | PIN | MODE | VECTOR),
  row(APIC.LVT_LINT1, "rw", "rw", MASK | PIN | MODE | VECTOR),
  row(APIC.LVT_ERROR, "rw", "rw", MASK | VECTOR),
  row(APIC.TIMER_INITIAL, "rw", "rw", ALL),
  row(APIC.TIMER_CURRENT, "r", "r"),
  row(APIC.TIMER_DIVIDE, "rw", "rw", 0xb),
  row(APIC.SELF_IPI, "-", "w", 0xff),
];

/** The register of each number; undefined: there is none. */
export const APIC_MAP: readonly (ApicRegister | undefined)[] = Array.from(
  { length: APIC_REGISTERS },
  (_, n) =>
    ROWS.find(({ number, count = 1 }) => n >= number && n < number + count),
);

/** Values after power-on and INIT that are not 0 (11.4.7.1). */
export const APIC_RESET: readonly (readonly [number, number])[] = [
  [APIC.VERSION, APIC_VERSION],
  [APIC.DFR, ALL],
  [APIC.SVR, 0xff],
  ...LOCAL_INTERRUPTS.map((lvt) => [lvt, LVT.MASKED] as const),
];

// DFR has bits that are always 1, LDR and ICR_HIGH more bits in x2APIC mode, and ESR
// shows what was not written.
const FREE: readonly number[] = [APIC.LDR, APIC.DFR, APIC.ESR, APIC.ICR_HIGH];

/** A register of a saved state with bits that it cannot have. */
export function illegalRegister(values: readonly number[]): number | undefined {
  const number = values.findIndex((value, n) => {
    const register = APIC_MAP[n];
    return register?.xapic === "rw" && !FREE.includes(n) &&
      (value & ~register.writable) !== 0;
  });
  return number < 0 ? undefined : number;
}

/** The highest vector in a set of 256 bits, or -1. */
export function highestVector(words: Uint32Array): number {
  for (let n = 7; n >= 0; n--) {
    const word = words[n]!;
    if (word !== 0) return 32 * n + 31 - Math.clz32(word);
  }
  return -1;
}

/** Whether a vector is in a set. */
export function hasVector(words: Uint32Array, vector: number): boolean {
  return (words[vector >> 5]! >>> (vector & 31) & 1) !== 0;
}

/** Puts a vector into a set or takes it out. */
export function setVector(
  words: Uint32Array,
  vector: number,
  isIn: boolean,
): void {
  const bit = 1 << (vector & 31);
  if (isIn) words[vector >> 5]! |= bit;
  else words[vector >> 5]! &= ~bit;
}
