// What a program and those that it started use of the host, from Linux's /proc.

import { cpuSeconds } from "../../tests/commands/harness/usage.ts";

const KIB = 1024;

/** Use of the host up to now. */
export interface Usage {
  /** bytes of memory at the peak, each process at its own */
  readonly peak: number;
  /** seconds of processor time */
  readonly cpu: number;
}

function childrenOf(pid: number): number[] {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].flatMap(({ name }) =>
    Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`)
      .split(" ").filter((text) => text !== "").map(Number)
  );
}

function usageOne(pid: number): Usage {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * KIB;
  return { peak, cpu: cpuSeconds(pid) };
}

/** The processes below one, with it; those that end meanwhile may be missing. */
export function treeOf(pid: number): number[] {
  const all = [pid];
  for (const one of all) {
    try {
      all.push(...childrenOf(one));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  return all;
}

// A process that is being reaped answers with ESRCH.
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Error && /os error 3\b/.test(error.message);
}

/** What a process and those below it have used. */
export function usageOf(pid: number): Usage {
  let [peak, cpu] = [0, 0];
  for (const one of treeOf(pid)) {
    try {
      const used = usageOne(one);
      peak += used.peak;
      cpu += used.cpu;
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  return { peak, cpu };
}
