import { assert, assertEquals } from "@std/assert";

const LOWERED = new URL("./_lowered.ts", import.meta.url).pathname;

/** The niceness of the threads of a process that lowers what compiles, by name. */
async function niceness(tools: string): Promise<(readonly string[])[]> {
  const args = ["run", "--no-prompt", "--no-check", `--allow-run=${tools}`];
  const command = new Deno.Command(Deno.execPath(), {
    args: [...args, "--allow-read", LOWERED],
  });
  const text = new TextDecoder().decode((await command.output()).stdout);
  return text.trim().split("\n").map((line) =>
    /^\s*(\d+)\s+(.*)$/.exec(line)?.slice(1) ?? [line]
  );
}

function named(threads: (readonly string[])[], name: RegExp): string[] {
  const found = threads.filter((thread) => name.test(thread[1] ?? ""));
  return found.map((thread) => thread[0]!);
}

Deno.test({
  name: "what compiles gives way: V8's threads and the first worker",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const threads = await niceness("ps,renice");
    assert(named(threads, /^V8 /).length > 0);
    assert(named(threads, /^V8 /).every((nice) => nice === "5"));
    assertEquals(named(threads, /^worker-/), ["5", "0"]);
    assert(named(threads, /^tokio/).every((nice) => nice === "0"));
  },
});

Deno.test({
  name: "without permission no thread's priority is changed",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const threads = await niceness("ps");
    assert(threads.length > 3);
    assert(threads.every(([nice]) => nice === "0"));
  },
});
