// A place for a test's machines: a directory of its own with a vmm root in it, the
// commands run there, and everything gone at the end.

import { assertEquals } from "@std/assert";
import {
  type CommandName,
  fromSources,
  type Grants,
  grantsFor,
  invocation,
  type Source,
} from "./commands.ts";
import { Session, type SessionEnd } from "./session.ts";

/** How a command is run. */
export interface RunOptions {
  /**
   * by default all of the test's own directory; others count only for sources, since
   * executables have their own
   */
  readonly grants?: Grants;
  /** milliseconds */
  readonly limit?: number;
  /** what it is run from, by default these sources */
  readonly source?: Source;
  /** a program to start it by, with its arguments */
  readonly wrapper?: readonly string[];
}

/** How a command that ended did. */
export interface RunResult extends SessionEnd {
  /** lines of its standard output */
  readonly lines: readonly string[];
}

/** Commands that do not run a guest are done by then, even on a busy host. */
const SHORT_MS = 60_000;
/** Directories in a vmm root in which machines leave something. */
const PLACES = ["vmm", "vmm.io", "run"];

function namesIn(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** A directory for a test. */
export class TestHost implements AsyncDisposable {
  readonly #sessions: Session[] = [];

  private constructor(readonly directory: string) {}

  /** Makes one. Its path is short, since a socket's must be. */
  static async create(): Promise<TestHost> {
    return new TestHost(await Deno.makeTempDir({ prefix: "bhyve-" }));
  }

  /** the vmm root, which the first command makes */
  get root(): string {
    return `${this.directory}/vmm`;
  }

  /** A path in the directory. */
  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  /** Starts a command. */
  start(
    command: CommandName,
    args: readonly string[],
    { grants, limit = SHORT_MS, wrapper = [], ...options }: RunOptions = {},
  ): Session {
    const source = options.source ??
      (grants === undefined ? undefined : fromSources(command));
    const { argv, env } = invocation(command, args, {
      grants: grants ?? grantsFor(this.directory, this.root),
      root: this.root,
      ...source === undefined ? {} : { source },
    });
    const [program, ...rest] = [...wrapper, ...argv] as [string, ...string[]];
    const session = new Session({
      argv: [program, ...rest],
      env,
      limit,
      cwd: this.directory,
    });
    this.#sessions.push(session);
    return session;
  }

  /** Runs a command to its end, without input. */
  async run(
    command: CommandName,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<RunResult> {
    const session = this.start(command, args, options);
    await session.hangUp();
    const end = await session.end();
    const lines = end.out.split("\n").filter((line) => line !== "");
    return { ...end, lines };
  }

  /** Runs a command that must end well; answers the lines that it prints. */
  async ok(
    command: CommandName,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<readonly string[]> {
    const { code, err, lines } = await this.run(command, args, options);
    assertEquals(code, 0, `${command} ${args.join(" ")}: ${err}`);
    return lines;
  }

  /** What machines left in the vmm root, by path in it. */
  leftovers(): string[] {
    return PLACES.flatMap((place) =>
      namesIn(`${this.root}/${place}`).map((name) => `${place}/${name}`)
    );
  }

  /** Ends what still runs and removes the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions) await session[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}
