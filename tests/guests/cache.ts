// Where guests' files are kept between runs: outside the repository.

/** The cache's directory, made where it is missing. */
export function cacheDir(): string {
  const base = Deno.env.get("BHYVE_GUESTS") ??
    `${
      Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "."}/.cache`
    }/bhyve-guests`;
  Deno.mkdirSync(base, { recursive: true });
  return base;
}

/**
 * Waits until nobody else has the lock of this name; disposing of it frees it.
 *
 * @param name a name in the cache
 */
export async function lockOf(name: string): Promise<Deno.FsFile> {
  const dir = `${cacheDir()}/locks`;
  Deno.mkdirSync(dir, { recursive: true });
  const file = await Deno.open(`${dir}/${name}`, { write: true, create: true });
  await file.lock(true);
  return file;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * The path of a cached file or directory, which `make` makes where it is missing.
 * Others that want the same one at the same time wait; a failure leaves nothing.
 *
 * @param name its name in the cache
 * @param make makes it at the path that it is given
 */
export async function cached(
  name: string,
  make: (path: string) => Promise<void>,
): Promise<string> {
  const path = `${cacheDir()}/${name}`;
  if (exists(path)) return path;
  using _lock = await lockOf(name);
  if (exists(path)) return path;
  const partial = `${path}.${Deno.pid}.partial`;
  try {
    await make(partial);
    await Deno.rename(partial, path);
  } catch (error) {
    if (exists(partial)) await Deno.remove(partial, { recursive: true });
    throw error;
  }
  return path;
}

/** A short name for what something is made from. */
export async function digest(...texts: readonly string[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(texts));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(
    hash.subarray(0, 6),
    (byte) => byte.toString(16).padStart(2, "0"),
  ).join("");
}
