// bhyvectl on machines at rest and running, from other processes, at once, and after a
// bhyve that was killed.

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { bareKernel } from "../guests/bare.ts";
import { linuxGuest } from "../guests/linux.ts";
import {
  BARE_ARGUMENTS,
  BARE_END,
  type Ending,
  loadBareMachine,
  startBareMachine,
} from "./harness/bare_machine.ts";
import { bootLinux } from "./harness/linux_machine.ts";
import { TestHost } from "./harness/test_host.ts";

const ACTIVE = "active cpus:\t";
/** Where the bare kernel lies. */
const KERNEL = { start: 0x10_0000n, end: 0x11_0000n };

async function rip(host: TestHost, name: string): Promise<bigint> {
  const [line] = await host.ok("bhyvectl", [`--vm=${name}`, "--get-rip"]);
  return BigInt(/^rip\[0\]\t\t(0x[0-9a-f]{16})$/.exec(line!)![1]!);
}

function assertInKernel(address: bigint): void {
  const isInside = address >= KERNEL.start && address < KERNEL.end;
  assert(isInside, `0x${address.toString(16)} is not in the kernel`);
}

Deno.test("bhyvectl reads and changes a machine at rest", async () => {
  await using host = await TestHost.create();
  const vm = "--vm=rest";
  await host.ok("bhyvectl", [vm, "--create"]);
  await host.ok("bhyvectl", [
    ...[vm, "--set-rip=0x123456789abcdef0", "--set-rax=0x42", "--set-cr3=4096"],
    ...["--set-desc-ds", "--desc-base=0x1000", "--desc-limit=0xfff"],
    ...["--desc-access=0x93", "--set-cs=0x28"],
  ]);
  const lines = await host.ok("bhyvectl", [
    ...[vm, "--get-rip", "--get-rax", "--get-cr3", "--get-desc-ds"],
    ...["--get-cs", "--get-active-cpus", "--get-cpu-topology"],
  ]);
  const text = lines.join("\n");
  assertMatch(text, /^rip\[0\]\t\t0x123456789abcdef0$/m);
  assertMatch(text, /^rax\[0\]\t\t0x0{14}42$/m);
  assertMatch(text, /^cr3\[0\]\t\t0x0{12}1000$/m);
  assertMatch(text, /^ds desc\[0\]\t0x0{12}1000\/0x0{5}fff\/0x0{6}93$/m);
  assertMatch(text, /^cs\[0\]\t\t0x0028$/m);
  assertMatch(text, /^active cpus:\t \(none\)$/m);
  await host.ok("bhyvectl", [vm, "--destroy"]);
  assertEquals(host.leftovers(), []);
});

Deno.test("bhyvectl fails as documented where there is nothing", async () => {
  await using host = await TestHost.create();
  for (const action of ["--get-rip", "--destroy", "--get-active-cpus"]) {
    const { code, err } = await host.run("bhyvectl", ["--vm=none", action]);
    assertEquals(code, 1, action);
    assertStringIncludes(err, "none");
  }
  assertEquals((await host.run("bhyvectl", [])).code, 1);
  assertEquals(host.leftovers(), []);
});

Deno.test("bhyvectl sees a running machine, and commands do not disturb each other", async () => {
  await using host = await TestHost.create();
  await loadBareMachine(host, "run", "wait");
  const atStart = await rip(host, "run");
  assertInKernel(atStart);
  await using bhyve = await startBareMachine(host, "run");
  const all = await Promise.all(
    Array.from({ length: 6 }, (_, n) => {
      const getter = n % 2 === 0 ? "--get-active-cpus" : "--get-cr0";
      return host.ok("bhyvectl", ["--vm=run", getter]);
    }),
  );
  for (const [n, [line]] of all.entries()) {
    if (n % 2 === 0) assertEquals(line, `${ACTIVE} 0`);
    else assertMatch(line!, /^cr0\[0\]\t\t0x0{14}31$/);
  }
  const later = await rip(host, "run");
  assertInKernel(later);
  assert(later !== atStart, "it did not run");
  const map = await host.ok("bhyvectl", ["--vm=run", "--get-memmap"]);
  assertMatch(map[1]!, /^0 +32MB +sysmem +0 +RWX/);
  const stats = await host.ok("bhyvectl", ["--vm=run", "--get-stats"]);
  assertMatch(stats[0]!, /^vcpu0 stats:/);
  assert(stats.length > 5, "statistics");
  await host.ok("bhyvectl", ["--vm=run", "--force-poweroff"]);
  await bhyve.endsWith(1);
});

Deno.test("bhyve refuses a machine that another runs, which goes on", async () => {
  await using host = await TestHost.create();
  await loadBareMachine(host, "busy", "wait");
  await using bhyve = await startBareMachine(host, "busy");
  const second = await host.run("bhyve", ["-m", "32M", "-H", "busy"]);
  assertEquals(second.code, 4);
  assertStringIncludes(second.err, "busy");
  const kernel = await bareKernel("multiboot");
  const load = ["-m", "32M", "--kernel", kernel, "busy"];
  assert((await host.run("bhyveload", load)).code !== 0);
  assertInKernel(await rip(host, "busy"));
  await host.ok("bhyvectl", ["--vm=busy", "--force-reset"]);
  await bhyve.endsWith(0);
});

Deno.test("A killed bhyve leaves a machine that runs again and is destroyed", async () => {
  await using host = await TestHost.create();
  await loadBareMachine(host, "dead", "wait");
  const atStart = await rip(host, "dead");
  const first = await startBareMachine(host, "dead");
  first.kill("SIGKILL");
  assertEquals((await first.end()).signal, "SIGKILL");
  assertEquals(await rip(host, "dead"), atStart, "at rest as it was loaded");

  const second = await startBareMachine(host, "dead");
  second.kill("SIGKILL");
  await second.end();
  await host.ok("bhyvectl", ["--vm=dead", "--destroy"]);
  assertEquals(host.leftovers(), []);
});

/** When bhyve is killed, in milliseconds from its start: while it gets ready, too. */
const KILL_TIMES = [30, 90, 150, 220, 300, 450, 700];

Deno.test("A bhyve that is killed at any time leaves a whole machine", async () => {
  await using host = await TestHost.create();
  await loadBareMachine(host, "any", "wait");
  const atStart = await rip(host, "any");
  for (const milliseconds of KILL_TIMES) {
    const bhyve = host.start("bhyve", [...BARE_ARGUMENTS, "any"]);
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    bhyve.kill("SIGKILL");
    await bhyve.end();
    assertEquals(await rip(host, "any"), atStart, `after ${milliseconds} ms`);
  }
  const bhyve = await startBareMachine(host, "any");
  await host.ok("bhyvectl", ["--vm=any", "--force-poweroff"]);
  await bhyve.endsWith(1);
  await host.ok("bhyvectl", ["--vm=any", "--destroy"]);
  assertEquals(host.leftovers(), []);
});

Deno.test("In monitor mode a reset starts the machine again", async () => {
  await using host = await TestHost.create();
  const kernel = await bareKernel("multiboot");
  const bhyve = host.start("bhyve", [
    ...["-M", ...BARE_ARGUMENTS, "-o", `loader.kernel=${kernel}`],
    ...["-o", "loader.append=end=reset", "again"],
  ]);
  for (let run = 0; run < 3; run++) await bhyve.expect(BARE_END);
  bhyve.kill("SIGKILL");
  await bhyve.end();
  assertEquals((await host.run("bhyvectl", ["--vm=again"])).code, 1);
  assertEquals(host.leftovers(), []);
});

Deno.test("Destroying a running machine ends its bhyve", async () => {
  await using host = await TestHost.create();
  await loadBareMachine(host, "gone", "wait");
  await using bhyve = await startBareMachine(host, "gone");
  await host.ok("bhyvectl", ["--vm=gone", "--destroy"]);
  await bhyve.endsWith(4);
  assertEquals(host.leftovers(), []);
});

const ENDINGS: readonly (readonly [Ending, number])[] = [
  ["keyboard", 0],
  ["reset", 0],
  ["poweroff", 1],
  ["halt", 2],
  ["triple", 3],
];

Deno.test("Every way in which a machine ends has bhyve's exit status", async () => {
  await using host = await TestHost.create();
  for (const [ending, status] of ENDINGS) {
    await loadBareMachine(host, "end", ending);
    const bhyve = await startBareMachine(host, "end");
    const { out } = await bhyve.endsWith(status);
    assertEquals(out, "", `after ${ending}`);
  }
  await host.ok("bhyvectl", ["--vm=end", "--destroy"]);
  assertEquals(host.leftovers(), []);
});

Deno.test("bhyvectl acts on Linux with two processors", async () => {
  await linuxGuest();
  await using host = await TestHost.create();
  const guest = await bootLinux(host, {
    name: "linux",
    memory: "256M",
    cpus: 2,
    append: "nmi_watchdog=0",
  });
  const vm = "--vm=linux";
  assertEquals(
    await host.ok("bhyvectl", [vm, "--get-active-cpus"]),
    [`${ACTIVE} 0, 1`],
  );
  const one = await host.ok("bhyvectl", [vm, "--cpu=1", "--get-cr0"]);
  assertMatch(one[0]!, /^cr0\[1\]\t\t0x0{8}8005003[0-9a-f]$/);
  assert((await host.ok("bhyvectl", [vm, "--get-all"])).length > 50);
  await host.ok("bhyvectl", [vm, "--inject-nmi"]);
  assertMatch(
    await guest.command("sleep 1; dmesg | grep -i nmi"),
    /NMI received for unknown reason|unknown NMI/i,
  );
  guest.kill("SIGKILL");
  await guest.end();
  await host.ok("bhyvectl", [vm, "--destroy"]);
  assertEquals(host.leftovers(), []);
});
