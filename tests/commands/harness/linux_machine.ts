// Machines with Linux in them, by the commands: loaded by bhyveload, run by bhyve.

import { GUEST_UP, linuxGuest } from "../../guests/linux.ts";
import type { Session } from "./session.ts";
import type { TestHost } from "./test_host.ts";

/** A machine with Linux. */
export interface LinuxMachine {
  readonly name: string;
  /** as for `-m` */
  readonly memory: string;
  /** as for `-c` */
  readonly cpus?: number;
  /** package of the kernel */
  readonly kernel?: string;
  /** words of the kernel's command line */
  readonly append?: string;
  /** further arguments of bhyve */
  readonly devices?: readonly string[];
  /** milliseconds for a run, from start to end */
  readonly limit?: number;
}

const COMMAND_LINE = "console=ttyS0 quiet";
/** Long enough for a busy host with two processors: a guard against hanging only. */
const LIMIT_MS = 600_000;

/** Puts a machine's kernel into its memory. */
export async function loadLinuxMachine(
  host: TestHost,
  { name, memory, kernel, append = "" }: LinuxMachine,
): Promise<void> {
  const guest = await linuxGuest(kernel);
  await host.ok("bhyveload", [
    ...["-m", memory, "--kernel", guest.kernel, "--initrd", guest.initrd],
    ...["--append", `${COMMAND_LINE} ${append}`.trim(), name],
  ]);
}

/** bhyve's arguments for a machine. */
export function bhyveArguments(
  { name, memory, cpus = 1, devices = [] }: LinuxMachine,
): string[] {
  return [
    ...["-c", `${cpus}`, "-m", memory, "-H"],
    ...["-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio"],
    ...devices,
    name,
  ];
}

/** Runs a loaded machine. */
export function startLinuxMachine(
  host: TestHost,
  machine: LinuxMachine,
): Session {
  const { limit = LIMIT_MS } = machine;
  return host.start("bhyve", bhyveArguments(machine), { limit });
}

/** Loads a machine and runs it up to its shell's prompt. */
export async function bootLinux(
  host: TestHost,
  machine: LinuxMachine,
): Promise<Session> {
  await loadLinuxMachine(host, machine);
  const session = startLinuxMachine(host, machine);
  await session.expect(GUEST_UP);
  await session.prompt();
  // Typed lines come back whole, not folded at the terminal's edge.
  await session.command("stty cols 1000");
  return session;
}
