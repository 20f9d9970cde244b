// BHYVE_JIT=log and log=FILE, for the curious: a line for each module of compiled
// regions, and each vCPU's sums when the machine ends.

import type { RegionStatistics } from "../vmm/cpu/regions/tier.ts";

/** Takes one line. */
export type Say = (line: string) => void;

const LOG_WORD = /^log(?:=(.+))?$/;

/**
 * Takes the log out of the text of BHYVE_JIT: the words that are left, and the file
 * that a log was asked for in, empty for standard error.
 */
export function parseLog(text: string): { rest: string; file?: string } {
  const words = text.split(",");
  const logs = words.filter((word) => LOG_WORD.test(word));
  const rest = words.filter((word) => !LOG_WORD.test(word)).join(",");
  const last = logs.at(-1);
  return last === undefined
    ? { rest }
    : { rest, file: LOG_WORD.exec(last)?.[1] ?? "" };
}

/** What takes the lines for a file's name, to whose end they are written. */
export function sayTo(file: string): Say {
  if (file === "") return (line) => console.error(line);
  const options = { append: true, create: true };
  Deno.openSync(file, options).close();
  return (line) => Deno.writeTextFileSync(file, `${line}\n`, options);
}

function sums(now: RegionStatistics, before?: RegionStatistics): string {
  const since = (name: keyof RegionStatistics) =>
    now[name] - (before?.[name] ?? 0);
  const parts = [
    `${since("regions")} regions of ${since("blocks")} blocks`,
    `${since("bytes")} bytes`,
    `${since("milliseconds").toFixed(1)} ms`,
    `${since("dropped")} dropped`,
  ];
  if (since("late") > 0) parts.push(`${since("late")} late`);
  if (since("failed") > 0) parts.push(`${since("failed")} batches failed`);
  return parts.join(", ");
}

/** The log of one machine. */
export class CompileLog {
  readonly #say: Say;
  readonly #last = new Map<number, RegionStatistics>();

  /** @param say takes its lines */
  constructor(say: Say) {
    this.#say = say;
  }

  /** A vCPU's thread told of what it has compiled so far. */
  told(vcpu: number, statistics: RegionStatistics): void {
    const before = this.#last.get(vcpu);
    this.#last.set(vcpu, statistics);
    const modules = statistics.modules - (before?.modules ?? 0);
    if (modules > 0) this.#line(vcpu, sums(statistics, before));
  }

  /** The machine has ended. */
  end(): void {
    for (const [vcpu, statistics] of this.#last) {
      const { modules, live } = statistics;
      this.#line(
        vcpu,
        `in all ${sums(statistics)}; ${modules} modules, ${live} regions left`,
      );
    }
    this.#last.clear();
  }

  #line(vcpu: number, text: string): void {
    this.#say(`bhyve: jit: vcpu ${vcpu}: ${text}`);
  }
}
