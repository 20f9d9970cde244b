// bhyveload(8) but for the process around it: a command line, where text goes and the
// vmm root come in, an exit status comes out.

import { printable } from "../vmm/message.ts";
import { LoaderError } from "../vmm/loader/mod.ts";
import { VmmError } from "../vmm/errno.ts";
import { VmmRoot } from "../vmm/root/root.ts";
import { commit, MachineError, requireMachine } from "./commit.ts";
import { type LoadConsole, openConsole, streamConsole } from "./console.ts";
import { LoadRefusal } from "./named_file.ts";
import {
  type LoadCommand,
  type LoadUsage,
  parseLoadOptions,
} from "./options.ts";
import { mebibytes } from "./read_file.ts";
import { stage } from "./stage.ts";

/** What the command has of the process that it runs in. */
export interface LoadIo {
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
  /** Where the machine is; the default root by default. */
  root?(): VmmRoot;
}

/** Bytes that take seconds to save. */
const SLOW = 2 ** 28;
const STATUS = { OK: 0, FAILED: 1 } as const;

function printer(write: (text: string) => void) {
  return (line: string) => write(`${printable(line)}\n`);
}

function exit({ status, out, err }: LoadUsage, io: LoadIo): number {
  out.forEach(printer(io.out));
  err.forEach(printer(io.err));
  return status;
}

async function loadAndCommit(
  command: LoadCommand,
  console: LoadConsole,
  io: LoadIo,
): Promise<void> {
  const voice = {
    say: (line: string) => console.line(line),
    progress: printer(io.err),
  };
  const root = io.root?.() ?? VmmRoot.default();
  await requireMachine(command.name, root);
  const staged = stage(command, voice);
  const { size } = staged.memory;
  if (size >= SLOW) {
    voice.progress(`Saving ${mebibytes(size)} in machine ${command.name}`);
  }
  await commit(command, staged, root);
}

function messageOf(error: unknown): string | undefined {
  // perror(3)'s form, with the function that failed
  if (error instanceof MachineError) return error.message;
  return error instanceof LoaderError || error instanceof VmmError
    ? `bhyveload: ${error.message}`
    : undefined;
}

async function run(command: LoadCommand, io: LoadIo): Promise<number> {
  const terminal = command.console === "stdio"
    ? undefined
    : openConsole(command.console);
  try {
    await loadAndCommit(command, terminal ?? streamConsole(io.out), io);
    return STATUS.OK;
  } catch (error) {
    const message = messageOf(error);
    if (message === undefined) throw error;
    printer(io.err)(message);
    // whoever watches the loader's terminal is told as well
    terminal?.line(message);
    return STATUS.FAILED;
  } finally {
    terminal?.close();
  }
}

/**
 * Does what a command line says.
 *
 * @param args the command line, without the program's name
 * @returns the exit status
 */
export async function bhyveload(
  args: readonly string[],
  io: LoadIo,
): Promise<number> {
  const command = parseLoadOptions(args);
  if (command.kind === "exit") return exit(command, io);
  try {
    return await run(command, io);
  } catch (error) {
    if (error instanceof LoadRefusal) return exit(error.usage, io);
    throw error;
  }
}
