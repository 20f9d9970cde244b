// Resource descriptors for _CRS and _PRS (ACPI 6.4, section 6.4), small and large.

import { type AmlValue, buffer } from "./aml.ts";

/** The bytes of one descriptor. */
export type Resource = readonly number[];

function little(value: number, bytes: number): number[] {
  return Array.from(
    { length: bytes },
    (_, n) => Math.floor(value / 2 ** (8 * n)) & 0xff,
  );
}

/** Ports that decode 16 address bits, at a fixed place. */
export function ports(start: number, length: number): Resource {
  return [0x47, 1, ...little(start, 2), ...little(start, 2), 1, length];
}

/** Legacy interrupts by the bits of a mask; edge, active high, exclusive. */
export function irq(...lines: number[]): Resource {
  return [0x22, ...little(maskOf(lines), 2)];
}

/** Legacy interrupts of which one is used; level, active low, shared. */
export function sharedIrq(...lines: number[]): Resource {
  return [0x23, ...little(maskOf(lines), 2), 0x18];
}

function maskOf(lines: readonly number[]): number {
  return lines.reduce((mask, line) => mask | (1 << line), 0);
}

/** Memory below 4 GiB at a fixed place, writable. */
export function fixedMemory(start: number, length: number): Resource {
  return [0x86, 9, 0, 1, ...little(start, 4), ...little(length, 4)];
}

const BUS_NUMBERS = 2;
const MEMORY = 0;
const IO = 1;
/** Minimum and maximum are fixed, decoded positively, produced for children. */
const FIXED_PRODUCER = 0x0c;
/** Of memory: writable, not cacheable. Of ports: every address, not ISA alone. */
const MEMORY_FLAGS = 1;
const ENTIRE_RANGE = 3;

interface Space {
  readonly tag: number;
  readonly width: number;
  readonly type: number;
  readonly flags: number;
}

function space(kind: Space, start: number, length: number): Resource {
  const { tag, width, type, flags } = kind;
  const fields = [0, start, start + length - 1, 0, length]
    .flatMap((value) => little(value, width));
  const size = little(3 + fields.length, 2);
  return [tag, ...size, type, FIXED_PRODUCER, flags, ...fields];
}

/** Bus numbers that a bridge hands on. */
export function busNumbers(first: number, count: number): Resource {
  const kind = { tag: 0x88, width: 2, type: BUS_NUMBERS, flags: 0 };
  return space(kind, first, count);
}

/** Ports that a bridge hands on. */
export function portWindow(start: number, length: number): Resource {
  const kind = { tag: 0x88, width: 2, type: IO, flags: ENTIRE_RANGE };
  return space(kind, start, length);
}

/** Memory below 4 GiB that a bridge hands on. */
export function memoryWindow32(start: number, length: number): Resource {
  const kind = { tag: 0x87, width: 4, type: MEMORY, flags: MEMORY_FLAGS };
  return space(kind, start, length);
}

/** Memory anywhere that a bridge hands on. */
export function memoryWindow64(start: number, length: number): Resource {
  const kind = { tag: 0x8a, width: 8, type: MEMORY, flags: MEMORY_FLAGS };
  return space(kind, start, length);
}

/** A resource template: descriptors and the end tag, whose sum 0 says none. */
export function template(...resources: Resource[]): AmlValue {
  return buffer([...resources.flat(), 0x79, 0]);
}
