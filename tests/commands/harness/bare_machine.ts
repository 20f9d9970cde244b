// Machines with a kernel of our own, which is up at once: for what is about the
// commands rather than about the guest.

import { bareKernel } from "../../guests/bare.ts";
import type { Session } from "./session.ts";
import type { TestHost } from "./test_host.ts";

/** Ways in which the bare kernels end. */
export type Ending =
  | "poweroff"
  | "triple"
  | "keyboard"
  | "reset"
  | "halt"
  | "wait";

/** What the kernels say last. */
export const BARE_END = "END\n";

/** bhyve's arguments for a bare machine. */
export const BARE_ARGUMENTS = [
  ...["-m", "32M", "-H", "-s", "0,hostbridge", "-s", "31,lpc"],
  ...["-l", "com1,stdio"],
];

/** Puts the Multiboot kernel into a machine. */
export async function loadBareMachine(
  host: TestHost,
  name: string,
  ending: Ending,
): Promise<void> {
  const kernel = await bareKernel("multiboot");
  await host.ok("bhyveload", [
    ...["-m", "32M", "--kernel", kernel, "--append", `end=${ending}`, name],
  ]);
}

/** Runs a loaded bare machine until its kernel has said all. */
export async function startBareMachine(
  host: TestHost,
  name: string,
): Promise<Session> {
  const session = host.start("bhyve", [...BARE_ARGUMENTS, name]);
  await session.expect(BARE_END);
  return session;
}
