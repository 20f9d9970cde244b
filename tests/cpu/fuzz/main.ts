// `deno task fuzz:cpu`: random test cases on the host CPU and on the software CPU, compared. With
// --native-only the host runs them twice, in opposite orders, and what the cases do is summed up.

import { Code } from "iced-x86";
import { parseArgs } from "node:util";
import {
  type CpuCase,
  type CpuOutcome,
  type Executor,
  NativeExecutor,
} from "../native/native.ts";
import { compareOutcomes, type Difference } from "./compare.ts";
import { userModeCodes } from "./forms.ts";
import { type FuzzCase, Generator } from "./generator.ts";
import {
  FORCED_REGIONS,
  type RegionOptions,
} from "../../../vmm/cpu/regions/limits.ts";
import { describeCase, describeMismatch, describeOutcome } from "./report.ts";

/** What `software.ts` exports. */
export interface SoftwareModule {
  createSoftwareExecutor(
    options: { readonly compile: boolean | RegionOptions },
  ): Promise<Executor>;
  /** What the software CPU implements. */
  supportedCodes(): readonly Code[];
}

const USAGE =
  `usage: fuzz:cpu [--cases N] [--seed S] [--only N] [--forms REGEX] [--single]
                [--compile] [--in-place] [--native-only]
  --cases N      cases to run (default 100000)
  --seed S       32-bit seed (default 1)
  --only N       run case N alone and print it in full
  --forms REGEX  only forms whose name (Code/shape) matches
  --single       one instruction in each snippet
  --compile      compile every block of the software CPU on first execution
  --in-place     compile it with registers in memory, as small regions are
  --native-only  compare the host CPU with itself and print what the cases do
`;
const BATCH = 1024;
/** A broken instruction fails in every tenth case: its first failures are enough to read. */
const PRINTED_PER_FORM = 2;
const PRINTED = 40;
const PROGRESS_MS = 2000;
const BREAKPOINT = 3;

interface Settings {
  cases: number;
  seed: number;
  only?: number;
  forms?: RegExp;
  single: boolean;
  compile: boolean | RegionOptions;
  nativeOnly: boolean;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(
    `Cannot parse --${option}: "${text}" is not a whole number`,
  );
}

function parseSettings(args: string[]): Settings {
  const { values } = parseArgs({
    args,
    options: {
      cases: { type: "string", default: "100000" },
      seed: { type: "string", default: "1" },
      only: { type: "string" },
      forms: { type: "string" },
      single: { type: "boolean", default: false },
      compile: { type: "boolean", default: false },
      "in-place": { type: "boolean", default: false },
      "native-only": { type: "boolean", default: false },
    },
  });
  return {
    cases: wholeNumber("cases", values.cases),
    seed: wholeNumber("seed", values.seed) >>> 0,
    ...(values.only === undefined
      ? {}
      : { only: wholeNumber("only", values.only) }),
    ...(values.forms === undefined ? {} : { forms: new RegExp(values.forms) }),
    single: values.single,
    compile: values["in-place"]
      ? { ...FORCED_REGIONS, inPlace: true }
      : values.compile,
    nativeOnly: values["native-only"],
  };
}

/** The host CPU once more, running each batch backwards: shows what leaks between cases. */
class BackwardExecutor implements Executor {
  readonly #executor: Executor;

  constructor(executor: Executor) {
    this.#executor = executor;
  }

  async run(cases: readonly CpuCase[]): Promise<CpuOutcome[]> {
    return (await this.#executor.run(cases.toReversed())).reverse();
  }

  async close(): Promise<void> {
    await this.#executor.close();
  }
}

async function openSubject(
  settings: Settings,
): Promise<{ subject: Executor; codes: readonly Code[] }> {
  if (settings.nativeOnly) {
    return {
      subject: new BackwardExecutor(await NativeExecutor.create()),
      codes: userModeCodes(),
    };
  }
  // Not a literal, so that the tools check without the software CPU what needs none of it.
  const specifier = new URL("./software.ts", import.meta.url).href;
  const software: SoftwareModule = await import(specifier);
  const testable = new Set(userModeCodes());
  return {
    subject: await software.createSoftwareExecutor(settings),
    codes: software.supportedCodes().filter((code) => testable.has(code)),
  };
}

/** What has been seen of a form. */
interface Tally {
  cases: number;
  faults: number;
  mismatches: number;
}

class Statistics {
  readonly forms = new Map<string, Tally>();
  readonly vectors = new Map<number, number>();
  cases = 0;
  mismatches = 0;

  record({ form }: FuzzCase, { vector }: CpuOutcome, differs: boolean): Tally {
    const tally = this.forms.get(form.name) ??
      { cases: 0, faults: 0, mismatches: 0 };
    this.forms.set(form.name, tally);
    this.vectors.set(vector, (this.vectors.get(vector) ?? 0) + 1);
    this.cases++;
    tally.cases++;
    if (vector !== BREAKPOINT) tally.faults++;
    if (differs) {
      tally.mismatches++;
      this.mismatches++;
    }
    return tally;
  }

  /** Forms worst first. */
  worst(by: (tally: Tally) => number): [string, Tally][] {
    return [...this.forms].filter(([, tally]) => by(tally) > 0)
      .sort(([, a], [, b]) => by(b) / b.cases - by(a) / a.cases);
  }
}

class Fuzzer {
  readonly statistics = new Statistics();
  readonly #settings: Settings;
  readonly #generator: Generator;
  readonly #oracle: Executor;
  readonly #subject: Executor;
  #printed = 0;

  constructor(
    settings: Settings,
    generator: Generator,
    oracle: Executor,
    subject: Executor,
  ) {
    this.#settings = settings;
    this.#generator = generator;
    this.#oracle = oracle;
    this.#subject = subject;
  }

  async runBatch(first: number, count: number): Promise<void> {
    const cases = Array.from(
      { length: count },
      (_, index) => this.#generator.make(first + index),
    );
    const tests = cases.map(({ test }) => test);
    const [expected, actual] = await Promise.all([
      this.#oracle.run(tests),
      this.#subject.run(tests),
    ]);
    cases.forEach((test, index) =>
      this.#judge(test, expected[index]!, actual[index]!)
    );
  }

  async runOne(index: number): Promise<void> {
    const made = this.#generator.make(index);
    const [expected] = await this.#oracle.run([made.test]);
    const [actual] = await this.#subject.run([made.test]);
    print(describeCase(made));
    print(`--- expected\n${describeOutcome(expected!)}`);
    print(`--- actual\n${describeOutcome(actual!)}\n---`);
    this.#judge(made, expected!, actual!);
  }

  #judge(test: FuzzCase, expected: CpuOutcome, actual: CpuOutcome): void {
    // The host has no answer if it timed out, died, or was about to enter the kernel.
    const differences = expected.vector < 0
      ? []
      : compareOutcomes(test, expected, actual);
    const tally = this.statistics.record(
      test,
      expected,
      differences.length > 0,
    );
    if (differences.length > 0) this.#print(test, differences, tally);
  }

  #print(
    test: FuzzCase,
    differences: readonly Difference[],
    tally: Tally,
  ): void {
    if (tally.mismatches > PRINTED_PER_FORM || this.#printed >= PRINTED) return;
    this.#printed++;
    print(describeMismatch(test, this.#settings.seed, differences));
  }
}

async function runAll(fuzzer: Fuzzer, cases: number): Promise<void> {
  const start = performance.now();
  let shown = start;
  for (let first = 0; first < cases; first += BATCH) {
    await fuzzer.runBatch(first, Math.min(BATCH, cases - first));
    const now = performance.now();
    if (now - shown < PROGRESS_MS) continue;
    shown = now;
    const { statistics } = fuzzer;
    const rate = Math.round(statistics.cases / (now - start) * 1000);
    print(
      `${statistics.cases} cases, ${rate}/s, ${statistics.mismatches} mismatches`,
    );
  }
}

function percent(part: number, whole: number): string {
  return `${(part / whole * 100).toFixed(1)} %`;
}

/** What the cases did: shows whether most of them are worth their time. */
function printDistribution(statistics: Statistics): void {
  const { vectors, cases } = statistics;
  for (const [vector, count] of [...vectors].sort(([, a], [, b]) => b - a)) {
    print(`vector ${vector}: ${count} (${percent(count, cases)})`);
  }
  const faulting = statistics.worst((tally) => tally.faults);
  const mostly = faulting.filter(([, tally]) => tally.faults * 2 > tally.cases);
  print(`${mostly.length} forms fault in most cases:`);
  for (const [name, tally] of mostly) {
    print(`  ${name} ${percent(tally.faults, tally.cases)}`);
  }
}

function printSummary(statistics: Statistics, generator: Generator): void {
  const uncovered = generator.forms.filter(({ name }) =>
    !statistics.forms.has(name)
  );
  const failing = statistics.worst((tally) => tally.mismatches);
  for (const [name, tally] of failing) {
    print(`  ${name}: ${tally.mismatches} of ${tally.cases} cases differ`);
  }
  if (uncovered.length > 0) {
    print(`not covered: ${uncovered.map(({ name }) => name).join(" ")}`);
  }
  print(
    `${statistics.cases} cases, ${statistics.forms.size} of ${generator.forms.length} forms, ` +
      `${statistics.mismatches} mismatches in ${failing.length} forms`,
  );
}

async function main(settings: Settings): Promise<number> {
  const { subject, codes } = await openSubject(settings);
  const oracle = await NativeExecutor.create();
  const { seed, forms, single } = settings;
  const generator = new Generator({ seed, codes, forms, single });
  const fuzzer = new Fuzzer(settings, generator, oracle, subject);
  try {
    if (settings.only !== undefined) await fuzzer.runOne(settings.only);
    else await runAll(fuzzer, settings.cases);
  } finally {
    await oracle.close();
    await subject.close();
    generator.free();
  }
  const { statistics } = fuzzer;
  if (settings.only === undefined) {
    if (settings.nativeOnly) printDistribution(statistics);
    printSummary(statistics, generator);
  }
  return statistics.mismatches > 0 ? 1 : 0;
}

if (import.meta.main) {
  let settings: Settings | undefined;
  try {
    settings = parseSettings(Deno.args);
  } catch (error) {
    print(`${error instanceof Error ? error.message : error}\n${USAGE}`);
  }
  Deno.exit(settings ? await main(settings) : 2);
}
