// Debian's cloud kernel by the real commands, driven over its console: to the prompt,
// and every way in which a machine ends, with bhyve's exit statuses.

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { GUEST_UP, linuxGuest } from "../guests/linux.ts";
import { TestHost } from "./harness/test_host.ts";
import {
  bootLinux,
  loadLinuxMachine,
  startLinuxMachine,
} from "./harness/linux_machine.ts";
import type { Session } from "./harness/session.ts";
import { cpuShare, hasUsage } from "./harness/usage.ts";

const MIB = 1024;
const DONE = "WORK-DONE";

async function memoryKib(guest: Session): Promise<number> {
  const text = await guest.command("grep MemTotal /proc/meminfo");
  return Number(/(\d+) kB/.exec(text)?.[1]);
}

// A guest sees its memory but for what its kernel takes for itself.
async function assertMemory(guest: Session, mib: number): Promise<void> {
  const seen = await memoryKib(guest) / MIB;
  assert(seen <= mib && seen >= mib * 0.9 - 64, `${seen} MiB of ${mib}`);
}

// Every processor runs a loop of its own at the same time and says where it ran.
async function assertAllWork(guest: Session, cpus: number): Promise<void> {
  const online = await guest.command("grep -c ^processor /proc/cpuinfo");
  assertEquals(online.trim(), `${cpus}`);
  const loop = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; " +
    "set -- $(cat /proc/self/stat); echo ran-on-${39}";
  const starts = Array.from(
    { length: cpus },
    (_, n) => `taskset ${(1 << n).toString(16)} sh -c '${loop}' &`,
  );
  const out = await guest.command(`${starts.join(" ")} wait; echo ${DONE}`);
  for (let n = 0; n < cpus; n++) assertStringIncludes(out, `ran-on-${n}\n`);
  assertStringIncludes(out, DONE);
}

// Coarse, for busy hosts; `deno task bench boot` measures.
const MOST_IDLE_SHARE = 0.1;
const IDLE_SECONDS = 5;

async function assertIdle(guest: Session): Promise<void> {
  if (!hasUsage) return;
  const share = await cpuShare(guest.pid, IDLE_SECONDS);
  assert(share < MOST_IDLE_SHARE, `${share} of a processor while idle`);
}

// Much output arrives whole and in order.
async function assertConsole(guest: Session): Promise<void> {
  await guest.command("seq 100000 115000 >/tmp/numbers");
  const text = await guest.command("cat /tmp/numbers");
  const expected = Array.from({ length: 15001 }, (_, n) => `${100000 + n}\n`);
  assert(text === expected.join(""), `${text.length} characters came`);
}

Deno.test("A guest answers commands, reboots, and powers off", async () => {
  await linuxGuest();
  await using host = await TestHost.create();
  const machine = { name: "boot", memory: "256M" };
  const first = await bootLinux(host, machine);
  assertStringIncludes(await first.command("uname -sm"), "Linux x86_64");
  assertEquals(
    await first.command("echo $((6 * 7)) | md5sum"),
    "50a2fabfdd276f573ff97ace8b11c5f4  -\n",
  );
  assertMatch(await first.command("head -1 /proc/version"), /^Linux version /);
  await assertMemory(first, 256);
  await assertConsole(first);
  await assertIdle(first);
  await first.type("reboot -f");
  await first.endsWith(0);

  // As bhyve's users do: the loader and bhyve again, on the node that is there.
  assert(host.leftovers().includes("vmm/boot"));
  const second = await bootLinux(host, machine);
  assertStringIncludes(await second.command("echo again"), "again");
  await second.type("poweroff -f");
  await second.endsWith(1);
  await host.ok("bhyvectl", ["--vm=boot", "--destroy"]);
  assertEquals(host.leftovers(), []);
});

Deno.test("A guest with two processors halts", async () => {
  await linuxGuest();
  await using host = await TestHost.create();
  const guest = await bootLinux(host, { name: "halt", memory: "3G", cpus: 2 });
  await assertMemory(guest, 3072);
  await assertAllWork(guest, 2);
  await guest.type("halt -f");
  await guest.endsWith(2);
});

Deno.test("A guest with four processors and 6 GiB powers off on SIGTERM", async () => {
  await linuxGuest();
  await using host = await TestHost.create();
  const machine = { name: "four", memory: "6G", cpus: 4 };
  const guest = await bootLinux(host, machine);
  await assertMemory(guest, 6144);
  const high = await guest.command("grep 'System RAM' /proc/iomem | tail -1");
  assertMatch(high, /^100000000-1bfffffff : System RAM/);
  await assertAllWork(guest, 4);
  guest.kill("SIGTERM");
  await guest.expect("GUEST-POWER-BUTTON");
  await guest.endsWith(1);
});

Deno.test("A triple fault ends with status 3", async () => {
  await linuxGuest();
  await using host = await TestHost.create();
  const machine = {
    name: "triple",
    memory: "256M",
    append: "reboot=triple guest.run=reboot,-f",
  };
  await loadLinuxMachine(host, machine);
  const guest = startLinuxMachine(host, machine);
  await guest.expect(GUEST_UP);
  await guest.endsWith(3);
});
