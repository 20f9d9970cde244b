// Checked state of the platform's devices: each field once, with the values that a
// snapshot may put into it. A snapshot is untrusted input, so everything is checked
// before anything is changed (design.md section 7).

import type { DeviceState } from "../device.ts";

/** A snapshot does not fit the device that should take it. */
export class PlatformStateError extends Error {
  /** for messages */
  override readonly name = "PlatformStateError";
}

/** A field's check: gives a copy of the value. @throws {PlatformStateError} */
export type Check<T> = (value: unknown, path: string) => T;

/** The fields of a state, by name. */
export type Checks = Readonly<Record<string, Check<unknown>>>;

/** The values that fields describe. */
export type Checked<F extends Checks> = {
  readonly [K in keyof F]: F[K] extends Check<infer T> ? T : never;
};

function fail(path: string, expected: string, value: unknown): never {
  const text = typeof value === "object" ? typeof value : String(value);
  throw new PlatformStateError(
    `Cannot restore ${path}: ${text} is not ${expected}`,
  );
}

/** An integer of `min` to `max`. */
export function integer(max: number, min = 0): Check<number> {
  return (value, path) =>
    typeof value === "number" && Number.isInteger(value) && value >= min &&
      value <= max
      ? value
      : fail(path, `an integer of ${min} to ${max}`, value);
}

/** A byte. */
export const u8: Check<number> = integer(0xff);

/** A 32-bit word. */
export const u32: Check<number> = integer(0xffff_ffff);

/** Timer ticks: whole numbers that a double holds exactly, from 0. */
export const ticks: Check<number> = integer(Number.MAX_SAFE_INTEGER);

/** A time or a distance in time: any finite number. */
export function time(value: unknown, path: string): number {
  return typeof value === "number" && Number.isFinite(value)
    ? value
    : fail(path, "a time", value);
}

/** A truth value. */
export function flag(value: unknown, path: string): boolean {
  return typeof value === "boolean" ? value : fail(path, "a boolean", value);
}

/** Sixty-four bits, in hexadecimal. */
export function hex64(value: unknown, path: string): bigint {
  return typeof value === "string" && /^0x[0-9a-f]{1,16}$/.test(value)
    ? BigInt(value)
    : fail(path, "a hexadecimal number of 64 bits", value);
}

/** Exactly `count` items. */
export function table<T>(item: Check<T>, count: number): Check<T[]> {
  return (value, path) =>
    Array.isArray(value) && value.length === count
      ? value.map((v: unknown, n) => item(v, `${path}[${n}]`))
      : fail(path, `a list of ${count}`, value);
}

/** A group of fields; unknown and missing ones are errors. */
export function record<F extends Checks>(fields: F): Check<Checked<F>> {
  return (value, path) => {
    if (typeof value !== "object" || value === null) {
      fail(path, "a record", value);
    }
    const given = new Map<string, unknown>(Object.entries(value));
    const entries = Object.entries(fields).map(([key, check]) => {
      const checked = check(given.get(key), `${path}.${key}`);
      given.delete(key);
      return [key, checked];
    });
    const [unknown] = given.keys();
    if (unknown !== undefined) {
      throw new PlatformStateError(
        `Cannot restore ${path}: unknown field "${unknown}"`,
      );
    }
    return Object.fromEntries(entries) as Checked<F>;
  };
}

/** The state of another device, which checks it itself. */
export function part(value: unknown, path: string): DeviceState {
  const state = value as DeviceState | null | undefined;
  return typeof state?.kind === "string" && typeof state.version === "number"
    ? state
    : fail(path, "the state of a device", value);
}

/** The whole state of one kind of device. */
export class StateFormat<F extends Checks> {
  readonly #check: Check<Checked<F>>;

  /**
   * @param kind which kind of device, such as `ioapic`
   * @param version counts incompatible changes of the fields
   * @param fields what is in it
   */
  constructor(readonly kind: string, readonly version: number, fields: F) {
    this.#check = record(fields);
  }

  /** A snapshot of plain values, which must be copies. */
  save(values: Readonly<Record<keyof F, unknown>>): DeviceState {
    return { kind: this.kind, version: this.version, ...values };
  }

  /** The values in a snapshot. @throws {PlatformStateError} */
  check(state: DeviceState): Checked<F> {
    const { kind, version, ...rest } = part(state, this.kind);
    if (kind !== this.kind || version !== this.version) {
      throw new PlatformStateError(
        `Cannot restore ${this.kind} version ${this.version}: the state is ${kind} version ${version}`,
      );
    }
    return this.#check(rest, this.kind);
  }
}
