// How software reaches a local APIC's registers: by memory in xAPIC mode (Intel SDM
// vol. 3, 11.4.1), by MSR in x2APIC mode (11.12.1), and which of the two in
// IA32_APIC_BASE (11.12.5). Illegal accesses by memory set a bit in ESR, by MSR they
// fault.

import { APIC, APIC_MAP, ESR } from "./apic_registers.ts";

/** Where local APICs are in memory. */
export const APIC_BASE = 0xfee0_0000;

/** Modes of a local APIC. */
export const APIC_MODE = { OFF: 0, XAPIC: 1, X2APIC: 2 } as const;

/** The registers behind the window. */
export interface ApicRegisterFile {
  /** The value of a register by number. */
  readRegister(number: number): number;
  /** Writes a register; bits that cannot be written are 0. */
  writeRegister(number: number, value: number): void;
  /** Sets bits in ESR. */
  raise(errors: number): void;
}

const BASE_BSP = 0x100n;
const BASE_MODE_BITS = 0xc00n;
// Bits 11 (enabled) and 10 (x2APIC) of IA32_APIC_BASE by mode.
const BASE_OF_MODE: readonly bigint[] = [0n, 0x800n, 0xc00n];
// Which mode may follow which.
const MAY_FOLLOW: readonly (readonly number[])[] = [
  [APIC_MODE.OFF, APIC_MODE.XAPIC],
  [APIC_MODE.OFF, APIC_MODE.XAPIC, APIC_MODE.X2APIC],
  [APIC_MODE.OFF, APIC_MODE.X2APIC],
];

/** IA32_APIC_BASE in a mode. */
export function baseOfMode(mode: number, isBootstrap: boolean): bigint {
  return BigInt(APIC_BASE) | BASE_OF_MODE[mode]! |
    (isBootstrap ? BASE_BSP : 0n);
}

/** The mode that a write of IA32_APIC_BASE leads to, or -1 where it faults. */
export function modeOfBase(value: bigint, mode: number): number {
  const next = BASE_OF_MODE.indexOf(value & BASE_MODE_BITS);
  const rest = value & ~(BASE_MODE_BITS | BASE_BSP);
  if (rest !== BigInt(APIC_BASE) || next < 0) return -1;
  return MAY_FOLLOW[mode]!.includes(next) ? next : -1;
}

/** All ones of a width. */
export function allOnes(bytes: number): number | bigint {
  return bytes === 8 ? 0xffff_ffff_ffff_ffffn : 2 ** (8 * bytes) - 1;
}

function reaches(
  file: ApicRegisterFile,
  number: number,
  way: "r" | "w",
): boolean {
  const access = APIC_MAP[number]?.xapic ?? "-";
  if (access === "-") file.raise(ESR.REGISTER);
  return access === "rw" || access === way;
}

/** Reads by memory: any bytes of the first four of every sixteen, others are 0. */
export function readWindow(
  file: ApicRegisterFile,
  offset: number,
  bytes: number,
): number {
  const number = offset >>> 4;
  const skip = offset & 15;
  if (!reaches(file, number, "r") || skip > 3) return 0;
  const value = file.readRegister(number) >>> 8 * skip;
  return bytes >= 4 ? value : value & 2 ** (8 * bytes) - 1;
}

/** Writes by memory: four bytes, aligned to sixteen; others are lost. */
export function writeWindow(
  file: ApicRegisterFile,
  offset: number,
  bytes: number,
  value: number,
): void {
  const number = offset >>> 4;
  if (bytes !== 4 || (offset & 15) !== 0) return;
  if (!reaches(file, number, "w")) return;
  const { writable } = APIC_MAP[number]!;
  file.writeRegister(number, (value & writable) >>> 0);
}

const MSR_X2APIC = 0x800;

/** Reads by MSR 800h to BFFh; undefined: that faults. */
export function readX2apicMsr(
  file: ApicRegisterFile,
  index: number,
): bigint | undefined {
  const number = index - MSR_X2APIC;
  if (!APIC_MAP[number]?.x2apic.includes("r")) return undefined;
  const value = BigInt(file.readRegister(number));
  return number === APIC.ICR_LOW
    ? BigInt(file.readRegister(APIC.ICR_HIGH)) << 32n | value
    : value;
}

/** Writes by MSR 800h to BFFh; false: that faults. */
export function writeX2apicMsr(
  file: ApicRegisterFile,
  index: number,
  value: bigint,
): boolean {
  const number = index - MSR_X2APIC;
  const register = APIC_MAP[number];
  if (!register?.x2apic.includes("w")) return false;
  const low = Number(value & 0xffff_ffffn);
  const high = Number(value >> 32n);
  if ((low & ~register.writable) !== 0) return false;
  // Only ICR has 64 bits; its upper half first, since the lower one sends.
  if (number === APIC.ICR_LOW) file.writeRegister(APIC.ICR_HIGH, high);
  else if (high !== 0) return false;
  file.writeRegister(number, low);
  return true;
}
