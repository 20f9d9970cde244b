// What bhyve(8) has of the process that it runs in: where lines go, standard streams,
// signals, the vmm root. Tests and the demo bring their own.

import { VmmRoot } from "../vmm/root/root.ts";
import { printable, reasonOf } from "../vmm/message.ts";
import { lowerCompilers } from "./priority.ts";
import { STANDARD_STREAMS, type StandardStreams } from "./tty/stdio.ts";

/** A signal that the command handles. */
export type HandledSignal = "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGQUIT";

/** The process around the command. */
export interface CommandHost {
  /** Writes a line to standard output. */
  out(line: string): void;
  /** Writes a line to standard error. */
  err(line: string): void;
  /** Reads a text file whole. @throws {Error} whose message is the reason */
  readFile(path: string): string;
  /** the host's name */
  hostname(): string;
  /** what the `stdio` backend is */
  readonly streams: StandardStreams;
  /** where machines are */
  readonly root: VmmRoot;
  /**
   * Handles a signal instead of what it does by default.
   *
   * @returns what ends that
   */
  onSignal(signal: HandledSignal, handle: () => void): () => void;
  /** Is told that a machine's threads are made: those that compile are to give way. */
  lowerCompilers(): void;
  /**
   * Gives up what the process needs no more once everything is open, as bhyve does
   * by entering Capsicum: the network, other programs, the environment.
   *
   * @param keepsRun whether other programs are needed again, at a reset
   */
  enterSandbox(keepsRun: boolean): void;
}

// A reader that went away is no reason to leave things half done.
function printer(sink: Pick<typeof Deno.stdout, "writeSync">) {
  const encoder = new TextEncoder();
  return (line: string) => {
    let rest = encoder.encode(`${printable(line)}\n`);
    try {
      while (rest.length > 0) rest = rest.subarray(sink.writeSync(rest));
    } catch (error) {
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    }
  };
}

function readFile(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new Error(reasonOf(error));
  }
}

function onSignal(signal: HandledSignal, handle: () => void): () => void {
  try {
    Deno.addSignalListener(signal, handle);
  } catch {
    // Windows has few signals, and no SIGTERM among them.
    return () => {};
  }
  return () => Deno.removeSignalListener(signal, handle);
}

function enterSandbox(keepsRun: boolean): void {
  for (const name of ["net", "env", "sys", "ffi"] as const) {
    Deno.permissions.revokeSync({ name });
  }
  if (!keepsRun) Deno.permissions.revokeSync({ name: "run" });
}

/** This process. */
export function processHost(root: VmmRoot = VmmRoot.default()): CommandHost {
  return {
    out: printer(Deno.stdout),
    err: printer(Deno.stderr),
    readFile,
    hostname: () => Deno.hostname(),
    streams: STANDARD_STREAMS,
    root,
    onSignal,
    lowerCompilers: () => void lowerCompilers(),
    enterSandbox,
  };
}
