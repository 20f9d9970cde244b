// What a user of a Linux guest feels: seconds to the prompt, an idle machine's share of
// a processor, the console's rate, and what the monitor takes of the host's memory
// beyond what the guest touched. By the real commands; on Linux only.

import { linuxGuest } from "../../tests/guests/linux.ts";
import {
  bootLinux,
  type LinuxMachine,
} from "../../tests/commands/harness/linux_machine.ts";
import type { Session } from "../../tests/commands/harness/session.ts";
import { TestHost } from "../../tests/commands/harness/test_host.ts";
import {
  cpuSeconds,
  cpuShare,
  hasUsage,
  residentMemory,
} from "../../tests/commands/harness/usage.ts";

const MIB = 2 ** 20;
const MEMORY_MIB = 512;
const BOOTS = 3;
const IDLE_SECONDS = 10;
const CONSOLE_BYTES = 1_000_000;

type Row = readonly [name: string, value: string];

interface Measured {
  /** until the prompt */
  readonly wall: number;
  /** of the processor until the prompt */
  readonly cpu: number;
}

function machine(cpus: number): LinuxMachine {
  return { name: `bench${cpus}`, memory: `${MEMORY_MIB}M`, cpus };
}

async function timeBoot(
  cpus: number,
  use: (guest: Session) => Promise<void> = async () => {},
): Promise<Measured> {
  await using host = await TestHost.create();
  const start = performance.now();
  const guest = await bootLinux(host, machine(cpus));
  const wall = (performance.now() - start) / 1000;
  const cpu = cpuSeconds(guest.pid);
  await use(guest);
  await guest.type("poweroff -f");
  await guest.endsWith(1);
  return { wall, cpu };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function bootRow(name: string, boots: readonly Measured[]): Row {
  const wall = median(boots.map((b) => b.wall)).toFixed(1);
  const cpu = median(boots.map((b) => b.cpu)).toFixed(1);
  return [name, `${wall} s (${cpu} s of processor time)`];
}

async function idleRow(guest: Session): Promise<Row> {
  const share = await cpuShare(guest.pid, IDLE_SECONDS);
  return ["idle at the prompt", `${(share * 100).toFixed(1)} % of a processor`];
}

// The file is made first, so that only reading and printing it count.
async function consoleRow(guest: Session): Promise<Row> {
  await guest.command(
    `yes 0123456789abcdef0123456789abcdef0123456789abcdef | head -c ${CONSOLE_BYTES} >/tmp/text`,
  );
  const start = performance.now();
  const cpu = cpuSeconds(guest.pid);
  const text = await guest.command("cat /tmp/text");
  const seconds = (performance.now() - start) / 1000;
  const used = cpuSeconds(guest.pid) - cpu;
  const rate = (text.length / 1000 / seconds).toFixed(0);
  return [
    "console output",
    `${rate} KB/s (${(used / seconds * 100).toFixed(0)} % of a processor)`,
  ];
}

function memoryRow(guest: Session): Row {
  const { all, large } = residentMemory(guest.pid, MEMORY_MIB * MIB);
  const mib = (bytes: number) => (bytes / MIB).toFixed(0);
  return [
    "resident memory",
    `${mib(all)} MiB, of which the guest touched ${mib(large)} MiB`,
  ];
}

/** Runs the measurements and prints them as a table. */
export async function benchBoot(): Promise<void> {
  if (!hasUsage) throw new Error("This bench reads /proc, which is Linux's");
  await linuxGuest();
  const rows: Row[] = [];
  const boots: Measured[] = [];
  for (let n = 0; n < BOOTS; n++) {
    boots.push(
      await timeBoot(1, async (guest) => {
        if (n < BOOTS - 1) return;
        rows.push(await idleRow(guest), memoryRow(guest));
        rows.push(await consoleRow(guest));
      }),
    );
  }
  rows.unshift(
    bootRow("to the prompt, 1 vCPU", boots),
    bootRow("to the prompt, 4 vCPUs", [await timeBoot(4)]),
  );
  console.log("| measured | result |\n| --- | --- |");
  for (const [name, value] of rows) console.log(`| ${name} | ${value} |`);
}
