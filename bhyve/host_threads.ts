// This process's threads as the host's kernel knows them. Deno has no calls for them; on
// Linux, ps(1) finds their numbers, and tools of util-linux set what they are given.

/** What finds threads, pins them, and lowers their priority. */
const TOOLS = ["ps", "taskset", "renice"] as const;
type Tool = (typeof TOOLS)[number];

/** A thread of this process. */
export interface HostThread {
  readonly id: string;
  readonly name: string;
  /** its number among the workers, in the order in which they are made */
  readonly worker?: number;
}

const LINE = /^\s*(\d+)\s+(.*\S)\s*$/;
const WORKER = /^worker-(\d+)$/;

/**
 * Runs a tool.
 *
 * @returns what it printed
 * @throws {Error} with what it said where it failed
 */
export async function runTool(tool: Tool, ...args: string[]): Promise<string> {
  const command = new Deno.Command(tool, { args, stdin: "null" });
  const { success, stdout, stderr } = await command.output();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(`${tool}: ${new TextDecoder().decode(stderr).trim()}`);
}

/** Why tools cannot be run; undefined where they can, if the host has them. */
export function missingTools(...tools: readonly Tool[]): string | undefined {
  if (Deno.build.os !== "linux") return `not supported on ${Deno.build.os}`;
  const isDenied = (command: string) =>
    Deno.permissions.querySync({ name: "run", command }).state !== "granted";
  if (!tools.some(isDenied)) return undefined;
  return `no permission, run with --allow-run=${tools.join()}`;
}

/** This process's threads. Needs `ps`. */
export async function hostThreads(): Promise<HostThread[]> {
  const list = await runTool(
    ...["ps", "-L", "-o", "lwp=,comm=", "-p", `${Deno.pid}`] as const,
  );
  return list.split("\n").flatMap((line) => {
    const [, id, name] = LINE.exec(line) ?? [];
    if (id === undefined || name === undefined) return [];
    const worker = WORKER.exec(name);
    if (worker === null) return [{ id, name }];
    return [{ id, name, worker: Number(worker[1]) }];
  });
}

/** The workers among threads, the oldest first. */
export function workersOf(threads: readonly HostThread[]): HostThread[] {
  return threads.filter(({ worker }) => worker !== undefined)
    .toSorted((a, b) => a.worker! - b.worker!);
}
