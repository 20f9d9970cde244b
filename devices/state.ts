// Declared state of a device: each field once, with what it is after reset and which
// values a snapshot may put into it. A snapshot is untrusted input (security.md C.4):
// unknown, missing and out-of-range fields are errors before anything is changed.

import type { DeviceState } from "../vmm/device.ts";

/** A snapshot does not fit the device that should take it. */
export class StateError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "StateError";
}

/** One field of a state: its value after reset and its check. */
export interface Field<T> {
  /** The value after reset, a fresh copy each time. */
  initial(): T;
  /** A checked copy of a value. @throws {StateError} where it does not fit */
  check(value: unknown, path: string): T;
}

/** The fields of a state, by name. */
export type Fields = Readonly<Record<string, Field<unknown>>>;

/** The values that fields describe. */
export type Values<F extends Fields> = {
  -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never;
};

function fail(path: string, expected: string, value: unknown): never {
  const text = typeof value === "object" ? typeof value : String(value);
  throw new StateError(`Cannot restore ${path}: ${text} is not ${expected}`);
}

/** An integer of 0 to `max`. */
export function integer(max: number, initial = 0): Field<number> {
  return {
    initial: () => initial,
    check(value, path) {
      const fits = typeof value === "number" && Number.isInteger(value) &&
        value >= 0 && value <= max;
      return fits ? value : fail(path, `an integer of 0 to ${max}`, value);
    },
  };
}

/** A byte. */
export function u8(initial = 0): Field<number> {
  return integer(0xff, initial);
}

/** A 16-bit word. */
export function u16(initial = 0): Field<number> {
  return integer(0xffff, initial);
}

/** A 32-bit word. */
export function u32(initial = 0): Field<number> {
  return integer(0xffff_ffff, initial);
}

/** A guest-physical address: whole numbers that a double holds exactly. */
export function address(initial = 0): Field<number> {
  return integer(Number.MAX_SAFE_INTEGER, initial);
}

/** An integer of `-limit` to `limit`, 0 after reset. */
export function signed(limit: number): Field<number> {
  return {
    initial: () => 0,
    check(value, path) {
      const fits = typeof value === "number" && Number.isInteger(value) &&
        Math.abs(value) <= limit;
      return fits
        ? value
        : fail(path, `an integer of -${limit} to ${limit}`, value);
    },
  };
}

/** A truth value. */
export function flag(initial = false): Field<boolean> {
  return {
    initial: () => initial,
    check: (value, path) =>
      typeof value === "boolean" ? value : fail(path, "a boolean", value),
  };
}

/** One of some words. */
export function oneOf<const W extends string>(
  words: readonly W[],
  initial: W,
): Field<W> {
  return {
    initial: () => initial,
    check: (value, path) =>
      words.find((word) => word === value) ??
        fail(path, `one of ${words.join(", ")}`, value),
  };
}

function checkedList<T>(
  item: Field<T>,
  value: unknown,
  path: string,
  fits: (length: number) => boolean,
): T[] {
  if (!Array.isArray(value) || !fits(value.length)) {
    fail(path, "a list of the right length", value);
  }
  return value.map((v: unknown, i) => item.check(v, `${path}[${i}]`));
}

/** Exactly `count` items. */
export function table<T>(item: Field<T>, count: number): Field<T[]> {
  return {
    initial: () => Array.from({ length: count }, () => item.initial()),
    check: (value, path) => checkedList(item, value, path, (n) => n === count),
  };
}

/** At most `max` items; none after reset. */
export function queue<T>(item: Field<T>, max: number): Field<T[]> {
  return {
    initial: () => [],
    check: (value, path) => checkedList(item, value, path, (n) => n <= max),
  };
}

/** The state of a part, which checks the rest of it itself. */
export function part(of: {
  readonly kind: string;
  readonly version: number;
}): Field<DeviceState> {
  const { kind, version } = of;
  return {
    initial: () => ({ kind, version }),
    check(value, path) {
      const given = value as Partial<DeviceState> | null | undefined;
      return given?.kind === kind && given.version === version
        ? given as DeviceState
        : fail(path, `the state of ${kind} version ${version}`, value);
    },
  };
}

/** A group of fields. */
export function record<F extends Fields>(fields: F): Field<Values<F>> {
  return {
    initial: () => initialOf(fields),
    check: (value, path) => checkFields(fields, value, path),
  };
}

function initialOf<F extends Fields>(fields: F): Values<F> {
  const entries = Object.entries(fields).map(([k, f]) => [k, f.initial()]);
  return Object.fromEntries(entries) as Values<F>;
}

function checkFields<F extends Fields>(
  fields: F,
  value: unknown,
  path: string,
): Values<F> {
  if (typeof value !== "object" || value === null) {
    fail(path, "a record", value);
  }
  const given = new Map<string, unknown>(Object.entries(value));
  const entries = Object.entries(fields).map(([key, field]) => {
    const checked = field.check(given.get(key), `${path}.${key}`);
    given.delete(key);
    return [key, checked];
  });
  const [unknown] = given.keys();
  if (unknown !== undefined) {
    throw new StateError(`Cannot restore ${path}: unknown field "${unknown}"`);
  }
  return Object.fromEntries(entries) as Values<F>;
}

/** The whole state of one kind of device. */
export class StateSchema<F extends Fields> {
  /**
   * Declares a state.
   *
   * @param kind which kind of device, such as `uart16550`
   * @param version counts incompatible changes of the fields
   * @param fields what is in it
   */
  constructor(
    readonly kind: string,
    readonly version: number,
    readonly fields: F,
  ) {}

  /** The state after reset. */
  initial(): Values<F> {
    return initialOf(this.fields);
  }

  /** A snapshot of a state: a copy that later changes do not reach. */
  save(values: Values<F>): DeviceState {
    return {
      kind: this.kind,
      version: this.version,
      ...structuredClone(values),
    };
  }

  /** The state of a snapshot. @throws {StateError} for one that does not fit */
  restore(state: DeviceState): Values<F> {
    const { kind, version, ...rest } = state;
    if (kind !== this.kind || version !== this.version) {
      throw new StateError(
        `Cannot restore ${this.kind} version ${this.version}: the state is ${kind} version ${version}`,
      );
    }
    return checkFields(this.fields, rest, this.kind);
  }
}
