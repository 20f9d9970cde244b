// From a run's lines to figures, and from runs to medians. Seconds are the host's, since
// a guest's clock need not be true: Bochs's counts instructions.

import { APPS, GUEST_UP, TESTS } from "./lines.ts";
import type { Arrival, Run } from "./run.ts";

/** Figures by the name of their row. */
export type Figures = ReadonlyMap<string, number>;

/** A row's name and how its numbers are written. */
export interface Row {
  readonly name: string;
  /** whether it is seconds */
  readonly isTime: boolean;
}

const UP = "start to GUEST-UP";
const TOTAL = "total of guestbench";
const CPU = "processor time, whole run";
const PEAK = "peak RSS after guestbench, MiB";
const PEAK_ALL = "peak RSS at the end, MiB";

/** Rows of the table, in order. */
export const ROWS: readonly Row[] = [
  ...[UP, ...TESTS, TOTAL, ...APPS, CPU].map((name) => ({
    name,
    isTime: true,
  })),
  ...[PEAK, PEAK_ALL].map((name) => ({ name, isTime: false })),
];

const MIB = 2 ** 20;

function peakAt({ usage }: Arrival): number {
  return usage.peak / MIB;
}

// A line takes from the line before it, or from its own start, until it comes.
function times(arrivals: readonly Arrival[]): Map<string, number> {
  const found = new Map<string, number>();
  let before = 0;
  for (const { at, text } of arrivals) {
    const [word, name] = text.split(" ");
    if (word === GUEST_UP) found.set(UP, at);
    if (word === "bench") found.set(name!, at - before);
    before = at;
  }
  return found;
}

/** The figures of one run. */
export function figuresOf({ arrivals }: Run): Figures {
  const found = times(arrivals);
  const tests = TESTS.filter((name) => found.has(name));
  if (tests.length > 0) {
    const lastTest = arrivals.findLast(({ text }) =>
      text.startsWith(`bench ${tests.at(-1)} `)
    )!;
    found.set(TOTAL, tests.reduce((sum, name) => sum + found.get(name)!, 0));
    found.set(PEAK, peakAt(lastTest));
  }
  const last = arrivals.at(-1);
  if (last !== undefined) {
    found.set(CPU, last.usage.cpu);
    found.set(PEAK_ALL, peakAt(last));
  }
  return found;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[half]!
    : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Medians over runs, of whatever rows any of them has. */
export function mediansOf(runs: readonly Figures[]): Figures {
  const medians = new Map<string, number>();
  for (const { name } of ROWS) {
    const values = runs.flatMap((run) => run.get(name) ?? []);
    if (values.length > 0) medians.set(name, median(values));
  }
  return medians;
}
