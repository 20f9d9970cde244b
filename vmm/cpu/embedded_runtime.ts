// The runtime module as an executable carries it: `compile.ts` builds it with the sources
// that go into the executable. Beside sources there is none, since nothing would tell
// whether such a file is made from them.

/** Where the module is in an executable, and beside the sources while one is made. */
export const RUNTIME_FILE: URL = new URL("./runtime.bin", import.meta.url);

/** The module; undefined in a program that does not carry it. */
export function embeddedRuntime(): WebAssembly.Module | undefined {
  if (!Deno.build.standalone) return undefined;
  try {
    return new WebAssembly.Module(Deno.readFileSync(RUNTIME_FILE));
  } catch {
    return undefined;
  }
}
