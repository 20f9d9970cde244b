// Sessions with a shell of the host in the guest's place.

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Session, SessionError } from "./session.ts";

function shell(script: string, limit = 20_000): Session {
  return new Session({
    argv: ["/bin/sh", "-c", script],
    env: { PATH: "/usr/bin:/bin" },
    limit,
    prompt: "$ ",
  });
}

const ECHO = `printf '$ '
while read line; do
	echo "$line"; eval "$line"; printf '$ '
done`;

Deno.test("Session types commands and reads what they print", async () => {
  await using session = shell(ECHO);
  await session.prompt();
  assertEquals(await session.command("echo $((6 * 7))"), "42\n");
  assertEquals(await session.command("true"), "");
  await session.type("exit 3");
  assertEquals((await session.endsWith(3)).code, 3);
  assertStringIncludes(session.transcript, "42");
});

Deno.test("Session says what came instead of what was expected", async () => {
  await using session = shell("echo one; echo two >&2");
  const error = await assertRejects(
    () => session.expect("three"),
    SessionError,
    'without printing "three"',
  );
  assertStringIncludes(error.message, "last output:\none");
  const end = await session.end();
  assertEquals(end, { code: 0, signal: null, out: "one\n", err: "two\n" });
  await assertRejects(() => session.endsWith(1), SessionError, "status 0");
});

Deno.test("Session kills a child that takes too long", async () => {
  await using session = shell("echo up; exec sleep 60", 300);
  await session.expect("up");
  await assertRejects(() => session.end(), SessionError, "within 0.3 s");
});

Deno.test("Session ends its child when it is disposed of", async () => {
  let pid: number;
  {
    await using session = shell("echo up; exec sleep 60");
    await session.expect("up");
    pid = session.pid;
  }
  assertEquals(await isAlive(pid), false);
});

Deno.test("Session sends signals and reads what comes in pieces", async () => {
  await using session = shell(
    "trap 'printf by; sleep 0.1; echo e; exit 5' TERM; echo up; read x",
  );
  await session.expect("up\n");
  session.kill("SIGTERM");
  await session.hangUp();
  await session.expect("bye");
  await session.endsWith(5);
});

async function isAlive(pid: number): Promise<boolean> {
  const { success } = await new Deno.Command("/bin/sh", {
    args: ["-c", `kill -0 ${pid}`],
    stderr: "null",
  }).output();
  return success;
}
