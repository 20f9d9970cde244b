// Which of the process's threads the host's kernel prefers. Where a vCPU and what compiles
// for it want the same core, the vCPU should have it: it always has something to run, if
// slower. On two cores that is 8 % of a boot.

import {
  type HostThread,
  hostThreads,
  missingTools,
  runTool,
  workersOf,
} from "./host_threads.ts";

/** As nice(1) has it: a third of the others' share where cores are few. */
const NICENESS = 5;
/** V8's threads, which optimize: the kernel keeps 15 letters. */
const V8_THREAD = "V8 DefaultWorke";

// The thread that compiles regions is the first worker that a command makes.
function compilers(threads: readonly HostThread[]): HostThread[] {
  return [
    ...threads.filter(({ name }) => name === V8_THREAD),
    ...workersOf(threads).slice(0, 1),
  ];
}

/**
 * Lowers the priority of the threads that compile, in a process that has made a machine's
 * workers and no others. Where that is not possible, nothing happens: it is only speed.
 */
export async function lowerCompilers(): Promise<void> {
  if (missingTools("ps", "renice") !== undefined) return;
  try {
    const ids = compilers(await hostThreads()).map(({ id }) => id);
    await runTool("renice", "-n", `${NICENESS}`, "-p", ...ids);
  } catch {
    // A host without the tools.
  }
}
