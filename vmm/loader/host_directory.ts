// A host directory as a file system: what bhyveload's `-h` shows a loader. Nothing
// outside of it can be reached: no "..", no link that leads out, no device or pipe.

import { LoaderError } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";
import type { ReadLimit } from "./tree.ts";

/** Files of a directory of this host. */
export class HostDirectory implements LoaderFileSystem {
  readonly #base: string;
  readonly #most: number;

  /**
   * @param path the directory
   * @throws {Error} as `Deno.realPathSync`, where there is none
   */
  constructor(path: string, limit: ReadLimit) {
    this.#base = Deno.realPathSync(path);
    this.#most = limit.mostBytes;
  }

  // The path without links, undefined where there is nothing.
  #resolve(path: string): string | undefined {
    const names = path.split("/").filter((name) => name !== "");
    if (names.includes("..")) throw refused(path, 'it has ".." in it');
    const real = attempt(
      path,
      () => Deno.realPathSync([this.#base, ...names].join("/")),
    );
    if (real === undefined) return undefined;
    const prefix = this.#base.endsWith("/") ? this.#base : `${this.#base}/`;
    if (real === this.#base || real.startsWith(prefix)) return real;
    throw refused(path, "a link leads out of the directory given by -h");
  }

  /** A file's content, undefined where there is none. @throws {LoaderError} */
  read(path: string): Uint8Array | undefined {
    const real = this.#resolve(path);
    if (real === undefined) return undefined;
    return attempt(path, () => this.#content(path, real));
  }

  // A pipe would block and a device never end: what is opened must be a file.
  #content(path: string, real: string): Uint8Array | undefined {
    const { isFile, size } = Deno.lstatSync(real);
    if (!isFile) return undefined;
    if (size > this.#most) {
      throw refused(
        path,
        `it has ${size} bytes, expected at most ${this.#most}`,
      );
    }
    return Deno.readFileSync(real);
  }

  /** A directory's names, undefined where there is none. @throws {LoaderError} */
  list(path: string): string[] | undefined {
    const real = this.#resolve(path);
    if (real === undefined) return undefined;
    return attempt(path, () => {
      if (!Deno.lstatSync(real).isDirectory) return undefined;
      return Array.from(Deno.readDirSync(real), ({ name }) => name);
    });
  }
}

function refused(path: string, problem: string): LoaderError {
  return new LoaderError(`Cannot read host0:${path}: ${problem}`);
}

function attempt<T>(path: string, access: () => T): T | undefined {
  try {
    return access();
  } catch (error) {
    if (error instanceof LoaderError) throw error;
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof Deno.errors.NotADirectory) return undefined;
    throw refused(path, error instanceof Error ? error.message : String(error));
  }
}
