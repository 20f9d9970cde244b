// bhyvectl(8) but for the process around it: a command line, where text goes and how a
// machine is opened come in, an exit status comes out. As in FreeBSD 12 and 13, and
// unlike later ones, failing registers fail the command as everything else does.

import { DEFAULT_CPUID } from "../vmm/cpu/options.ts";
import { VmmError } from "../vmm/errno.ts";
import {
  vmClose,
  type VmContext,
  vmDestroy,
  VMMAPI_OPEN,
  vmOpenf,
  vmVcpuOpen,
} from "../vmm/vmmapi.ts";
import { printable } from "../vmm/message.ts";
import { MACHINE_ACTIONS } from "./machine_actions.ts";
import {
  type CtlAction,
  type CtlCommand,
  type CtlHost,
  parseCtlOptions,
} from "./options.ts";
import type { Act, Session } from "./session.ts";
import { VCPU_ACTIONS } from "./vcpu_actions.ts";

/** What the command has of the process that it runs in. */
export interface CtlIo {
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
  /** Opens a machine: `vmOpenf` by default. */
  open?(name: string, flags: number): Promise<VmContext>;
}

const STATUS = { OK: 0, USAGE: 1, FAILED: 255 } as const;

/** Every action but those that end the machine's handle. */
export const ACTIONS: ReadonlyMap<string, Act> = new Map([
  ...MACHINE_ACTIONS,
  ...VCPU_ACTIONS,
]);

/** The host's processor is the machines' own. */
export const HOST: CtlHost = { vendor: DEFAULT_CPUID.vendor };

// Nothing that a name or a message contains reaches the terminal as it is.
function printer(write: (text: string) => void) {
  return (line: string) => write(`${printable(line)}\n`);
}

// What this build has not, as a FreeBSD without BHYVE_SNAPSHOT has not.
const UNSUPPORTED: readonly string[] = ["checkpoint", "suspend"];

/**
 * Does what a command line says.
 *
 * @param args the command line, without the program's name
 * @returns the exit status
 */
export async function bhyvectl(
  args: readonly string[],
  io: CtlIo,
): Promise<number> {
  const command = parseCtlOptions(args, HOST);
  const complain = printer(io.err);
  if (command.kind === "exit") {
    command.out.forEach(printer(io.out));
    command.err.forEach(complain);
    return command.status;
  }
  const missing = command.actions.find(({ name }) =>
    UNSUPPORTED.includes(name)
  );
  if (missing !== undefined) {
    complain(`bhyvectl: --${missing.name}: this build has no snapshots`);
    return STATUS.USAGE;
  }
  const ctx = await openMachine(command, io);
  return ctx === undefined ? STATUS.USAGE : await runCommand(command, ctx, io);
}

// A refusal by the host or by Deno's permissions has a text of its own.
function requireVmmError(error: unknown): VmmError {
  if (error instanceof VmmError) return error;
  const isRefusal = error instanceof Deno.errors.NotCapable ||
    error instanceof Deno.errors.PermissionDenied;
  if (isRefusal) return new VmmError("EACCES", error.message);
  throw error;
}

async function openMachine(
  { vm, create }: CtlCommand,
  { err, open = vmOpenf }: CtlIo,
): Promise<VmContext | undefined> {
  try {
    return await open(vm, create ? VMMAPI_OPEN.CREATE : 0);
  } catch (error) {
    const { message } = requireVmmError(error);
    printer(err)(`vm_open: ${vm} could not be opened: ${message}`);
    return undefined;
  }
}

async function runCommand(
  command: CtlCommand,
  ctx: VmContext,
  io: CtlIo,
): Promise<number> {
  const print = printer(io.out);
  const vcpu = vmVcpuOpen(ctx, command.cpu);
  const session: Session = { ctx, vcpu, command, print };
  const steps = command.actions.filter(({ name }) => name !== "destroy");
  const failure = await firstFailure(steps, session);
  const destroys = failure === undefined &&
    steps.length < command.actions.length;
  // either of them lets go of the machine
  const last = destroys
    ? await failureOf("--destroy", () => vmDestroy(ctx))
    : await failureOf("--vm", () => vmClose(ctx));
  const reported = failure ?? last;
  if (reported === undefined) return STATUS.OK;
  print(`errno = ${reported.error.errno}`);
  printer(io.err)(`bhyvectl: ${reported.what}: ${reported.error.message}`);
  return STATUS.FAILED;
}

/** What failed and why. */
interface Failure {
  readonly what: string;
  readonly error: VmmError;
}

async function failureOf(
  what: string,
  act: () => Promise<void>,
): Promise<Failure | undefined> {
  try {
    await act();
    return undefined;
  } catch (error) {
    return { what, error: requireVmmError(error) };
  }
}

async function firstFailure(
  steps: readonly CtlAction[],
  session: Session,
): Promise<Failure | undefined> {
  for (const step of steps) {
    const act = () => ACTIONS.get(step.name)!(session, step);
    const failure = await failureOf(`--${step.name}`, act);
    if (failure !== undefined) return failure;
  }
  return undefined;
}
