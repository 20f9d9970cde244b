import { assert, assertEquals } from "@std/assert";
import { KeptRuntime } from "./kept_runtime.ts";

/** What begins every module, and one without anything. */
const EMPTY = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

async function withSources(
  test: (sources: URL) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempDir();
  const sources = new URL(`file://${path}/`);
  try {
    await Deno.mkdir(new URL("deep", sources));
    await Deno.writeTextFile(new URL("deep/one.ts", sources), "1");
    await Deno.writeTextFile(new URL("two.ts", sources), "2");
    await test(sources);
  } finally {
    await Deno.remove(sources, { recursive: true });
  }
}

async function isFound(sources: URL): Promise<boolean> {
  return await (await KeptRuntime.open(sources))?.find() !== undefined;
}

// One test, since there is one place where it is kept.
Deno.test("what was made from the same sources is found", async () => {
  await withSources(async (sources) => {
    const kept = await KeptRuntime.open(sources);
    if (kept === undefined) throw new Error("no cache");
    await kept.keep(EMPTY);
    assert(await kept.find() instanceof WebAssembly.Module);
    assert(await isFound(sources));
    const write = async (name: string, text: string) => {
      await Deno.writeTextFile(new URL(name, sources), text);
      return await isFound(sources);
    };
    assert(await write("one_test.ts", "not a source"));
    assert(await write("data.bin", "nor this"));
    assertEquals(await write("deep/one.ts", "3"), false);
    assertEquals(await write("deep/one.ts", "1"), true);
    assertEquals(await write("deep/more.ts", ""), false);
    await Deno.rename(
      new URL("deep/more.ts", sources),
      new URL("deep/_test.ts", sources),
    );
    assertEquals(await isFound(sources), true);
    // A file that moved is another source.
    await Deno.rename(new URL("two.ts", sources), new URL("2.ts", sources));
    assertEquals(await isFound(sources), false);
    await Deno.rename(new URL("2.ts", sources), new URL("two.ts", sources));
    await kept.keep(EMPTY.subarray(1));
    assertEquals(await isFound(sources), false);
  });
});

Deno.test("without sources that may be read nothing is kept", async () => {
  assertEquals(await KeptRuntime.open(new URL("file:///nowhere/")), undefined);
  const far = new URL("https://sources.invalid/");
  assertEquals(await KeptRuntime.open(far), undefined);
});

Deno.test({
  name: "nobody is asked for permission to read",
  permissions: { read: false },
  fn: async () => assertEquals(await KeptRuntime.open(), undefined),
});
