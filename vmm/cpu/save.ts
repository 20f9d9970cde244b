// A processor's saved state: plain data that survives JSON, versioned, refused
// where anything in it is missing, unknown or of the wrong size.

import { STATE_FIELDS } from "./architecture.ts";
import { CpuError } from "./exits.ts";
import type { MsrFile, MsrState } from "./msr.ts";

/** An event that waits to be delivered. */
export interface PendingEvent {
  /** vector, 0 to 255 */
  readonly vector: number;
  /** kind of `EVENT_KIND` */
  readonly kind: number;
  /** error code, or -1 */
  readonly error: number;
}

/** Events that a processor holds back. */
export interface EventState {
  /** a latched non-maskable interrupt */
  readonly nmi: boolean;
  /** an injected event */
  readonly injected: PendingEvent | undefined;
  /** debug exceptions held back by MOV SS, as DR6 bits */
  readonly pendingDebug: number;
}

/** The state of one processor. */
export interface CpuState {
  /** what it is the state of */
  readonly kind: "x86-64 cpu";
  /** version of the layout */
  readonly version: 1;
  /** fields of memory 0 as hexadecimal bytes, by name */
  readonly fields: Readonly<Record<string, string>>;
  /** registers that are not in memory 0 */
  readonly msrs: MsrState;
  /** a latched non-maskable interrupt */
  readonly nmi: boolean;
  /** an injected event */
  readonly injected: PendingEvent | null;
  /** debug exceptions held back by MOV SS, as DR6 bits */
  readonly pendingDebug: number;
}

const KEYS = ["kind", "version", "fields", "msrs", "nmi", "injected"]
  .concat(["pendingDebug"]);

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

/** Takes the state out of memory 0. */
export function saveState(
  state: DataView,
  msrs: MsrFile,
  events: EventState,
): CpuState {
  const fields: Record<string, string> = {};
  for (const { name, address, bytes } of STATE_FIELDS) {
    fields[name] = toHex(new Uint8Array(state.buffer, address, bytes));
  }
  return {
    kind: "x86-64 cpu",
    version: 1,
    fields,
    msrs: msrs.save(),
    nmi: events.nmi,
    injected: events.injected ?? null,
    pendingDebug: events.pendingDebug,
  };
}

function requireKeys(
  what: string,
  found: readonly string[],
  expected: readonly string[],
): void {
  const unknown = found.find((key) => !expected.includes(key));
  if (unknown !== undefined) {
    throw new CpuError(`Cannot restore ${what}: unknown part "${unknown}"`);
  }
  const missing = expected.find((key) => !found.includes(key));
  if (missing !== undefined) {
    throw new CpuError(`Cannot restore ${what}: part "${missing}" is missing`);
  }
}

/** Words that the engine uses as an index or a choice: the most that each can be. */
const LIMITS: Readonly<Record<string, number>> = {
  FPU_TOP: 7,
  CPL: 3,
  SHADOW_KIND: 2,
};

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isWithin(value: unknown, low: number, high: number): boolean {
  return typeof value === "number" && Number.isInteger(value) &&
    value >= low && value <= high;
}

function isEvent(value: unknown): boolean {
  return isObject(value) && Object.keys(value).length === 3 &&
    isWithin(value.vector, 0, 255) && isWithin(value.kind, 0, 4) &&
    isWithin(value.error, -1, 0xffff_ffff);
}

// What waits to be delivered.
function checkEvents(saved: CpuState): void {
  const good: readonly (readonly [name: keyof CpuState, isGood: boolean])[] = [
    ["nmi", typeof saved.nmi === "boolean"],
    ["injected", saved.injected === null || isEvent(saved.injected)],
    ["pendingDebug", isWithin(saved.pendingDebug, 0, 0xffff)],
  ];
  for (const [name, isGood] of good) {
    if (!isGood) {
      throw new CpuError(
        `Cannot restore part "${name}": bad value ${
          JSON.stringify(saved[name])
        }`,
      );
    }
  }
}

function checkField(name: string, bytes: number, text: unknown): void {
  if (
    typeof text !== "string" || text.length !== 2 * bytes ||
    /[^0-9a-f]/.test(text)
  ) {
    throw new CpuError(
      `Cannot restore field "${name}": expected ${bytes} bytes in hexadecimal`,
    );
  }
  const most = LIMITS[name];
  if (most === undefined) return;
  const value = parseInt(text.match(/../g)!.reverse().join(""), 16);
  if (value > most) {
    throw new CpuError(
      `Cannot restore field "${name}" as ${value}: expected 0 to ${most}`,
    );
  }
}

// Checks everything before anything is changed.
function check(saved: CpuState): void {
  if (saved?.kind !== "x86-64 cpu" || saved.version !== 1) {
    throw new CpuError(
      `Cannot restore a state of kind "${saved?.kind}" version ${saved?.version}: expected "x86-64 cpu" version 1`,
    );
  }
  requireKeys("a processor", Object.keys(saved), KEYS);
  checkEvents(saved);
  if (!isObject(saved.fields)) {
    throw new CpuError("Cannot restore a processor without fields");
  }
  requireKeys(
    "a processor's fields",
    Object.keys(saved.fields),
    STATE_FIELDS.map((f) => f.name),
  );
  for (const { name, bytes } of STATE_FIELDS) {
    checkField(name, bytes, saved.fields[name]);
  }
}

/** Puts a state into memory 0 and answers the events in it. @throws {CpuError} */
export function restoreState(
  state: DataView,
  msrs: MsrFile,
  saved: CpuState,
): EventState {
  check(saved);
  msrs.restore(saved.msrs);
  for (const { name, address, bytes } of STATE_FIELDS) {
    const text = saved.fields[name]!;
    for (let n = 0; n < bytes; n++) {
      state.setUint8(address + n, parseInt(text.slice(2 * n, 2 * n + 2), 16));
    }
  }
  return {
    nmi: saved.nmi,
    injected: saved.injected ?? undefined,
    pendingDebug: saved.pendingDebug,
  };
}
