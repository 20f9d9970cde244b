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
