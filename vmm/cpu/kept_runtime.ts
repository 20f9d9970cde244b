// The runtime module as it is kept between runs from sources: in Deno's cache, which needs
// no permission, and where what is transpiled from the sources lies, which is trusted as
// much. It is found by a digest of the processor's sources, so only where they made it.

const SOURCES = new URL("./", import.meta.url);
/** It tells the versions of packages. */
const CONFIGURATION = new URL("../../deno.json", import.meta.url);

/** Files and directories that the runtime is made from. */
export const RUNTIME_SOURCES: readonly URL[] = [SOURCES, CONFIGURATION];

/** Its name in the cache. */
const NAME = "https://runtime.invalid/";
/** The header that has the digest. */
const DIGEST = "digest";

/** Whether a file may be read: otherwise the operator would be asked. */
export function mayRead(path: URL): boolean {
  return path.protocol === "file:" &&
    Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

function sourcesIn(directory: URL): URL[] {
  const sources: URL[] = [];
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    const url = new URL(isDirectory ? `${name}/` : name, directory);
    if (isDirectory) sources.push(...sourcesIn(url));
    else if (/(?<!_test)\.ts$/.test(name)) sources.push(url);
  }
  return sources;
}

// Names are part of it, and how long each file is.
async function digestOf(files: readonly URL[]): Promise<string> {
  const encoder = new TextEncoder();
  const parts = files.toSorted((a, b) => a.href < b.href ? -1 : 1)
    .flatMap((file) => {
      const bytes = Deno.readFileSync(file);
      return [encoder.encode(`${file.href} ${bytes.length}\n`), bytes];
    });
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all)).join();
}

/** Where a program from sources keeps its runtime. */
export class KeptRuntime {
  readonly #cache: Cache;
  readonly #digest: string;

  private constructor(cache: Cache, digest: string) {
    this.#cache = cache;
    this.#digest = digest;
  }

  /**
   * Answers undefined where there are no sources that may be read, or no cache.
   *
   * @param sources the directory of what it is made from, with a slash at its end
   */
  static async open(sources: URL = SOURCES): Promise<KeptRuntime | undefined> {
    if (!mayRead(sources) || !mayRead(CONFIGURATION)) return undefined;
    try {
      const digest = await digestOf([...sourcesIn(sources), CONFIGURATION]);
      return new KeptRuntime(await caches.open("runtime"), digest);
    } catch {
      return undefined;
    }
  }

  /** The module, if it is there. */
  async find(): Promise<WebAssembly.Module | undefined> {
    try {
      const kept = await this.#cache.match(NAME);
      const bytes = await kept?.arrayBuffer();
      const isOurs = kept?.headers.get(DIGEST) === this.#digest;
      return isOurs ? new WebAssembly.Module(bytes!) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Keeps the module's bytes for the next run, in the place of what was kept before. */
  async keep(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const headers = { [DIGEST]: this.#digest };
    try {
      await this.#cache.put(NAME, new Response(bytes, { headers }));
    } catch {
      // The next run builds it again.
    }
  }
}
