// The commands as another user of the host, for whom the sources, Deno and its cache
// are copied to where that user may read them: they may lie in a home directory.

import {
  type CommandName,
  executables,
  grantsFor,
  mainOf,
  REPOSITORY,
  type Source,
} from "./commands.ts";
import type { RunResult, TestHost } from "./test_host.ts";

/** nobody and nogroup, wherever there are such. */
const UID = 65534;
const SOURCE = /\.(ts|json|lock)$/;

function copyTree(from: string, to: string, wanted: RegExp | undefined): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const { name, isDirectory, isFile } of Deno.readDirSync(from)) {
    if (name.startsWith(".git")) continue;
    if (isDirectory) copyTree(`${from}/${name}`, `${to}/${name}`, wanted);
    else if (isFile && (wanted?.test(name) ?? true)) {
      Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
    }
  }
}

async function denoCache(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json"],
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

async function copyDeno(directory: string): Promise<void> {
  copyTree(REPOSITORY, `${directory}/src`, SOURCE);
  copyTree(`${await denoCache()}/npm`, `${directory}/deno/npm`, undefined);
  await Deno.chown(`${directory}/deno`, UID, UID);
  await Deno.copyFile(Deno.execPath(), `${directory}/deno-command`);
}

/** Another user, with all that the commands need. */
export class OtherUser implements AsyncDisposable {
  private constructor(readonly directory: string) {}

  /** Copies what is needed. Only the super-user can be another. */
  static async create(): Promise<OtherUser> {
    const directory = await Deno.makeTempDir({ prefix: "bhyve-user-" });
    const user = new OtherUser(directory);
    const compiled = executables();
    try {
      if (compiled === undefined) await copyDeno(directory);
      else copyTree(compiled, directory, undefined);
      await Deno.chmod(directory, 0o755);
      return user;
    } catch (error) {
      await user[Symbol.asyncDispose]();
      throw error;
    }
  }

  #sourceOf(command: CommandName): Source {
    const { directory } = this;
    return executables() === undefined
      ? {
        deno: `${directory}/deno-command`,
        main: `${directory}/src/${mainOf(command)}`,
      }
      : { executables: directory };
  }

  /** Gives a file or directory to the user. */
  async own(path: string): Promise<void> {
    await Deno.chown(path, UID, UID);
  }

  /** Runs a command as the user. */
  async run(
    host: TestHost,
    command: CommandName,
    args: readonly string[],
  ): Promise<RunResult> {
    const { directory } = this;
    const wrapper = [
      ...["setpriv", "--reuid", `${UID}`, "--regid", `${UID}`],
      ...["--clear-groups", "--", "env", `DENO_DIR=${directory}/deno`],
    ];
    return await host.run(command, args, {
      wrapper,
      source: this.#sourceOf(command),
      grants: grantsFor(host.directory, host.root),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}
