import { assertEquals, assertMatch } from "@std/assert";

const PINNED = new URL("./_pinned.ts", import.meta.url).pathname;
const NARROW = ["--allow-run=ps,taskset", "--allow-read"];

/** What a process of its own says, which has one worker to pin. */
async function pinned(cpus: string, ...flags: string[]): Promise<string> {
  const args = ["run", "--no-prompt", "--no-check", ...flags, PINNED, cpus];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
  return new TextDecoder().decode(stdout).trim();
}

Deno.test({
  name: "pinVcpus() pins a vCPU's thread",
  ignore: Deno.build.os !== "linux",
  async fn() {
    assertEquals(await pinned("0", ...NARROW), "pinned to 0");
  },
});

Deno.test("pinVcpus() says why a vCPU is not pinned", async () => {
  assertMatch(await pinned("1023", ...NARROW), /^vCPUs are not pinned: /);
  assertMatch(await pinned("0"), /--allow-run=ps,taskset$|not supported/);
});
