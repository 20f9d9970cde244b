// ACPI Machine Language (ACPI 6.4, section 20) from typed building blocks: data
// and expressions are values, statements and named objects are terms. Only what
// the platform's DSDT needs is here.

import { FirmwareError } from "../bytes.ts";

/** Encoded bytes of something that has a value: data, names, expressions. */
export type AmlValue = readonly number[] & { readonly aml?: "value" };
/** Encoded bytes of something that stands in a scope or a method. */
export type AmlTerm = readonly number[] & { readonly aml?: "term" };

const EXT = 0x5b;
const OP = {
  ZERO: 0x00,
  ONE: 0x01,
  NAME: 0x08,
  BYTE: 0x0a,
  WORD: 0x0b,
  DWORD: 0x0c,
  STRING: 0x0d,
  QWORD: 0x0e,
  SCOPE: 0x10,
  BUFFER: 0x11,
  PACKAGE: 0x12,
  METHOD: 0x14,
  LOCAL0: 0x60,
  ARG0: 0x68,
  STORE: 0x70,
  SUBTRACT: 0x74,
  SHIFT_LEFT: 0x79,
  AND: 0x7b,
  FIND_SET_RIGHT_BIT: 0x82,
  NOTIFY: 0x86,
  CREATE_WORD_FIELD: 0x8b,
  EQUAL: 0x93,
  LESS: 0x95,
  IF: 0xa0,
  ELSE: 0xa1,
  RETURN: 0xa4,
} as const;
const REGION = 0x80;
const FIELD = 0x81;
const DEVICE = 0x82;
/** Field access of any width, no lock, other bits preserved. */
const ANY_ACCESS = 0;
const PCI_CONFIG = 2;

/** PkgLength: the length of what follows, its own bytes included (20.2.4). */
function packageLength(content: number): number[] {
  if (content + 1 < 0x40) return [content + 1];
  for (const more of [1, 2, 3]) {
    const total = content + 1 + more;
    if (total >= 1 << (4 + 8 * more)) continue;
    const rest = Array.from({ length: more }, (_, n) => total >> (4 + 8 * n));
    return [(more << 6) | (total & 0xf), ...rest.map((b) => b & 0xff)];
  }
  throw new FirmwareError(`Cannot encode an AML package of ${content} bytes`);
}

function packaged(opcode: number[], content: number[]): number[] {
  return [...opcode, ...packageLength(content.length), ...content];
}

function little(value: bigint, bytes: number): number[] {
  return Array.from(
    { length: bytes },
    (_, n) => Number((value >> BigInt(8 * n)) & 0xffn),
  );
}

function segment(name: string): number[] {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(name)) {
    throw new FirmwareError(
      `Cannot encode AML name "${name}": expected 1 to 4 of A-Z, 0-9, _`,
    );
  }
  return [...name.padEnd(4, "_")].map((c) => c.charCodeAt(0));
}

/** A name string: `\` for the root, segments joined by dots (20.2.2). */
export function path(text: string): AmlValue {
  const isRooted = text.startsWith("\\");
  const segments = (isRooted ? text.slice(1) : text).split(".").map(segment);
  const prefix = segments.length === 1
    ? []
    : segments.length === 2
    ? [0x2e]
    : [0x2f, segments.length];
  return [...(isRooted ? [0x5c] : []), ...prefix, ...segments.flat()];
}

/** An integer in its shortest form. */
export function integer(value: number | bigint): AmlValue {
  const wide = BigInt(value);
  if (wide === 0n) return [OP.ZERO];
  if (wide === 1n) return [OP.ONE];
  const forms: [number, number][] = [[OP.BYTE, 1], [OP.WORD, 2], [OP.DWORD, 4]];
  const form = forms.find(([, bytes]) => wide < 1n << BigInt(8 * bytes));
  const [opcode, bytes] = form ?? [OP.QWORD, 8];
  if (wide < 0n || wide >= 1n << 64n) {
    throw new FirmwareError(`Cannot encode ${wide}: expected 64 bits`);
  }
  return [opcode, ...little(wide, bytes)];
}

/** A string. */
export function string(text: string): AmlValue {
  return [OP.STRING, ...[...text].map((c) => c.charCodeAt(0) & 0x7f), 0];
}

/** An EISA identifier such as `PNP0A03`: five bits a letter (19.3.4). */
export function eisaId(id: string): AmlValue {
  const match = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id);
  if (match === null) {
    throw new FirmwareError(
      `Cannot encode EISA ID "${id}": expected AAAHHHH, such as PNP0A03`,
    );
  }
  const letters = [...match[1]!].map((c) => c.charCodeAt(0) & 0x1f);
  const vendor = letters.reduce((sum, letter) => (sum << 5) | letter, 0);
  const product = parseInt(match[2]!, 16);
  return [
    ...[OP.DWORD, vendor >> 8, vendor & 0xff],
    ...[product >> 8, product & 0xff],
  ];
}

/** A buffer of these bytes. */
export function buffer(bytes: readonly number[]): AmlValue {
  return packaged([OP.BUFFER], [...integer(bytes.length), ...bytes]);
}

/** A package of at most 255 elements. */
export function pack(...elements: AmlValue[]): AmlValue {
  if (elements.length > 255) {
    throw new FirmwareError(
      `Cannot encode a package of ${elements.length}: expected at most 255`,
    );
  }
  return packaged([OP.PACKAGE], [elements.length, ...elements.flat()]);
}

/** Argument 0 to 6 of the method. */
export function argument(n: number): AmlValue {
  return [OP.ARG0 + n];
}

/** Local variable 0 to 7 of the method. */
export function local(n: number): AmlValue {
  return [OP.LOCAL0 + n];
}

/** The value of calling a method. */
export function call(name: string, ...args: AmlValue[]): AmlValue {
  return [...path(name), ...args.flat()];
}

/** `a & b`. */
export function and(a: AmlValue, b: AmlValue): AmlValue {
  return [OP.AND, ...a, ...b, OP.ZERO];
}

/** `a - b`. */
export function subtract(a: AmlValue, b: AmlValue): AmlValue {
  return [OP.SUBTRACT, ...a, ...b, OP.ZERO];
}

/** `a << b`. */
export function shiftLeft(a: AmlValue, b: AmlValue): AmlValue {
  return [OP.SHIFT_LEFT, ...a, ...b, OP.ZERO];
}

/** The number, from 1, of the lowest bit that is set; 0 for none. */
export function lowestBit(value: AmlValue): AmlValue {
  return [OP.FIND_SET_RIGHT_BIT, ...value, OP.ZERO];
}

/** `a == b`. */
export function equal(a: AmlValue, b: AmlValue): AmlValue {
  return [OP.EQUAL, ...a, ...b];
}

/** `a < b`. */
export function less(a: AmlValue, b: AmlValue): AmlValue {
  return [OP.LESS, ...a, ...b];
}

/** `Name (name, value)`. */
export function name(name: string, value: AmlValue): AmlTerm {
  return [OP.NAME, ...path(name), ...value];
}

/** `Scope (name) { ... }`. */
export function scope(name: string, ...terms: AmlTerm[]): AmlTerm {
  return packaged([OP.SCOPE], [...path(name), ...terms.flat()]);
}

/** `Device (name) { ... }`. */
export function device(name: string, ...terms: AmlTerm[]): AmlTerm {
  return packaged([EXT, DEVICE], [...path(name), ...terms.flat()]);
}

/** `Method (name, args) { ... }`; serialized where it creates named objects. */
export function method(
  name: string,
  options: { readonly args?: number; readonly serialized?: boolean },
  ...terms: AmlTerm[]
): AmlTerm {
  const flags = (options.args ?? 0) | (options.serialized ? 8 : 0);
  return packaged([OP.METHOD], [...path(name), flags, ...terms.flat()]);
}

/** `If (condition) { ... }`, and `Else { ... }` where there are other terms. */
export function when(
  condition: AmlValue,
  then: AmlTerm,
  otherwise?: AmlTerm,
): AmlTerm {
  const first = packaged([OP.IF], [...condition, ...then]);
  if (otherwise === undefined) return first;
  return [...first, ...packaged([OP.ELSE], [...otherwise])];
}

/** `target = value`. */
export function store(value: AmlValue, target: AmlValue): AmlTerm {
  return [OP.STORE, ...value, ...target];
}

/** `Return (value)`. */
export function give(value: AmlValue): AmlTerm {
  return [OP.RETURN, ...value];
}

/** `Notify (object, value)`. */
export function notify(object: AmlValue, value: AmlValue): AmlTerm {
  return [OP.NOTIFY, ...object, ...value];
}

/** `CreateWordField (source, byte, name)`. */
export function wordField(
  source: AmlValue,
  byte: number,
  name: string,
): AmlTerm {
  return [OP.CREATE_WORD_FIELD, ...source, ...integer(byte), ...path(name)];
}

/** `OperationRegion (name, PCI_Config, offset, length)`. */
export function pciRegion(
  name: string,
  offset: number,
  length: number,
): AmlTerm {
  const region = [...path(name), PCI_CONFIG];
  return [EXT, REGION, ...region, ...integer(offset), ...integer(length)];
}

/** A field's unit: a name, or a gap without one, and its bits. */
export interface FieldUnit {
  /** four characters; none for a gap */
  readonly name?: string;
  /** width */
  readonly bits: number;
}

/** `Field (region, AnyAcc, NoLock, Preserve) { ... }`. */
export function field(region: string, units: readonly FieldUnit[]): AmlTerm {
  const list = units.flatMap(({ name, bits }) => [
    ...(name === undefined ? [0] : segment(name)),
    ...fieldLength(bits),
  ]);
  return packaged([EXT, FIELD], [...path(region), ANY_ACCESS, ...list]);
}

// As a PkgLength, but without its own bytes (20.2.5.2).
function fieldLength(bits: number): number[] {
  return bits < 0x40 ? [bits] : [0x40 | (bits & 0xf), bits >> 4];
}
