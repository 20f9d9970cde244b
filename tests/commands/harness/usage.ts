// What a process uses of the host, from Linux's /proc.

/** Whether this host tells. */
export const hasUsage = Deno.build.os === "linux";

// USER_HZ, which is 100 on every architecture that Deno runs on.
const TICKS_PER_SECOND = 100;
const UTIME = 11;
const STIME = 12;
const KIB = 1024;

/** Seconds of processor time that a process has used, all its threads together. */
export function cpuSeconds(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The fields behind the name, which may contain anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[UTIME]) + Number(fields[STIME]);
  return ticks / TICKS_PER_SECOND;
}

/** The share of one processor that a process uses, over some time: 1 for all of it. */
export async function cpuShare(pid: number, seconds: number): Promise<number> {
  const start = performance.now();
  const before = cpuSeconds(pid);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const used = cpuSeconds(pid) - before;
  return used / ((performance.now() - start) / 1000);
}

/** Resident memory in bytes. */
export interface Resident {
  /** of the process */
  readonly all: number;
  /** of its mappings of at least some size */
  readonly large: number;
}

/**
 * A process's resident memory.
 *
 * @param least bytes of address space from which a mapping counts as large
 */
export function residentMemory(pid: number, least: number): Resident {
  const text = Deno.readTextFileSync(`/proc/${pid}/smaps`);
  const sizes = [...text.matchAll(/^Size: +(\d+) kB[^]*?^Rss: +(\d+) kB/gm)]
    .map(([, size, rss]) => ({
      size: Number(size) * KIB,
      rss: Number(rss) * KIB,
    }));
  const sum = (rows: typeof sizes) => rows.reduce((all, r) => all + r.rss, 0);
  return {
    all: sum(sizes),
    large: sum(sizes.filter(({ size }) => size >= least)),
  };
}
