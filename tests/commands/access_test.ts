// Who may do what with the nodes of a vmm root: by Deno's permissions for each level
// of trust, and by file modes for another user of the host.

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { bareKernel } from "../guests/bare.ts";
import { type Grants } from "./harness/commands.ts";
import { BARE_ARGUMENTS, BARE_END } from "./harness/bare_machine.ts";
import { OtherUser } from "./harness/other_user.ts";
import { type RunOptions, TestHost } from "./harness/test_host.ts";
import type { Session } from "./harness/session.ts";
import { cacheDir } from "../guests/cache.ts";

/** What a command that may not use `vmmctl` may use. */
function machinesOnly(host: TestHost): Grants {
  const paths = ["vmm", "vmm.io", "run"].map((name) => `${host.root}/${name}`);
  const sockets = `${host.root}/run`;
  return { read: [...paths, cacheDir()], write: paths, sockets };
}

/** Starts a machine that bhyve loads itself, and waits until it is up. */
async function startLoading(
  host: TestHost,
  name: string,
  flags: readonly string[],
  options: RunOptions,
): Promise<Session> {
  const kernel = await bareKernel("multiboot");
  const session = host.start("bhyve", [
    ...[...flags, ...BARE_ARGUMENTS, "-o", `loader.kernel=${kernel}`],
    ...["-o", "loader.append=end=wait", "-U", crypto.randomUUID(), name],
  ], options);
  await session.expect(BARE_END);
  return session;
}

/** A root with a machine at rest in it, made with every right. */
async function hostWithMachine(name: string): Promise<TestHost> {
  const host = await TestHost.create();
  try {
    await host.ok("bhyvectl", [`--vm=${name}`, "--create", "--set-rip=0x77"]);
    return host;
  } catch (error) {
    await host[Symbol.asyncDispose]();
    throw error;
  }
}

Deno.test("A machine in monitor mode goes with its bhyve, however that ends", async () => {
  await using host = await TestHost.create();
  const session = await startLoading(host, "mon", ["-M"], {});
  const lines = await host.ok("bhyvectl", ["--vm=mon", "--get-active-cpus"]);
  assertEquals(lines, ["active cpus:\t 0"]);
  session.kill("SIGKILL");
  await session.end();
  const { code, err } = await host.run("bhyvectl", ["--vm=mon", "--get-rip"]);
  assertEquals(code, 1);
  assertStringIncludes(err, "No such file");
  assertEquals(host.leftovers(), []);

  const orderly = await startLoading(host, "mon", ["-M"], {});
  await host.ok("bhyvectl", ["--vm=mon", "--force-poweroff"]);
  await orderly.endsWith(1);
  assertEquals(host.leftovers(), []);
});

Deno.test("Without vmmctl machines can be used, but not made or destroyed", async () => {
  await using host = await hostWithMachine("there");
  const grants = machinesOnly(host);
  const ctl = (...args: string[]) => host.run("bhyvectl", args, { grants });
  const { lines } = await ctl("--vm=there", "--set-rax=5", "--get-rip");
  assertMatch(lines[0]!, /0x0{14}77$/);
  const refused = [
    await ctl("--vm=new", "--create"),
    await ctl("--vm=there", "--destroy"),
  ];
  for (const { code, err } of refused) {
    assert(code !== 0);
    assertStringIncludes(err, `--allow-write=${host.root}/vmmctl`);
  }
  const [rax] = await host.ok("bhyvectl", ["--vm=there", "--get-rax"]);
  assertMatch(rax!, /0x0{15}5$/, "what was set stays");
  await host.ok("bhyvectl", ["--vm=there", "--destroy"]);
  assertEquals(host.leftovers(), []);
});

Deno.test("Without vmmctl bhyve runs in monitor mode only", async () => {
  await using host = await hostWithMachine("other");
  const grants = machinesOnly(host);
  const session = await startLoading(host, "own", ["-M"], { grants });
  session.kill("SIGKILL");
  await session.end();
  const kernel = await bareKernel("multiboot");
  const stays = await host.run("bhyve", [
    ...["-m", "32M", "-o", `loader.kernel=${kernel}`],
    ...["-U", crypto.randomUUID(), "own"],
  ], { grants });
  assertEquals(stays.code, 4);
  assertStringIncludes(stays.err, `${host.root}/vmmctl`);
  assertStringIncludes(stays.err, "-M");
  await host.ok("bhyvectl", ["--vm=other", "--destroy"]);
  assertEquals(host.leftovers(), []);
});

Deno.test("Without any node nothing can be done, and the node is named", async () => {
  await using host = await hostWithMachine("far");
  const before = host.leftovers();
  const grants = { read: [cacheDir()], write: [] };
  const kernel = await bareKernel("multiboot");
  const boot = ["-m", "32M", "-o", `loader.kernel=${kernel}`];
  const uuid = ["-U", crypto.randomUUID()];
  const attempts = [
    await host.run("bhyvectl", ["--vm=far", "--get-rip"], { grants }),
    await host.run("bhyvectl", ["--vm=new", "--create"], { grants }),
    await host.run("bhyvectl", ["--vm=far", "--destroy"], { grants }),
    await host.run("bhyve", [...boot, ...uuid, "-M", "new"], { grants }),
    await host.run("bhyveload", ["--kernel", kernel, "new"], { grants }),
  ];
  for (const { code, err } of attempts) {
    assert(code !== 0);
    assertMatch(err, new RegExp(`--allow-(read|write)=${host.root}`));
  }
  assertEquals(host.leftovers(), before);
});

Deno.test({
  name: "File modes keep another user out, and let them in by vmmctl",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using host = await hostWithMachine("roots");
    await using other = await OtherUser.create();
    const ctl = (...args: string[]) => other.run(host, "bhyvectl", args);
    const closed = await ctl("--vm=roots", "--get-rip");
    assert(closed.code !== 0, "the root is the super-user's alone");

    // As an administrator does it who lets users run machines of their own.
    await Deno.chmod(host.directory, 0o755);
    await Deno.chmod(host.root, 0o755);
    for (const name of ["vmm", "vmm.io", "run"]) {
      await Deno.chmod(`${host.root}/${name}`, 0o1777);
    }
    assertStringIncludes((await ctl("--vm=roots", "--get-rip")).err, "ermi");
    const made = await ctl("--vm=theirs", "--create");
    assert(made.code !== 0);
    assertStringIncludes(made.err, `${host.root}/vmmctl`);
    await other.own(`${host.root}/vmmctl`);
    assertEquals((await ctl("--vm=theirs", "--create")).code, 0);
    const foreign = await ctl("--vm=roots", "--destroy");
    assert(foreign.code !== 0);
    assert(host.leftovers().includes("vmm/roots"));
    assertEquals((await ctl("--vm=theirs", "--destroy")).code, 0);
    assertEquals((await ctl("--vm=last", "--create")).code, 0);
    await host.ok("bhyvectl", ["--vm=last", "--destroy"]);
    await host.ok("bhyvectl", ["--vm=roots", "--destroy"]);
    assertEquals(host.leftovers(), []);
  },
});
