// What every peer is: a way to run a guest with one processor and 512 MiB, its console
// on standard output.

import type { Progress } from "../../tests/guests/debian.ts";
import type { Bits } from "./guest.ts";

/** Guest memory in MiB. */
export const MEMORY_MIB = 512;

/** A program to start. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What a guest is started from. */
export interface GuestFiles {
  /** path of the kernel */
  readonly kernel: string;
  /** path of the initramfs */
  readonly initrd: string;
  /** words for the guest, behind those for its console */
  readonly words: string;
}

/** The kernel's command line. */
export function commandLine({ words }: GuestFiles): string {
  return `console=ttyS0 ${words}`;
}

/** A way to run guests. */
export interface Peer {
  /** as it is called on the command line and in the table */
  readonly name: string;
  readonly bits: Bits;
  /** so slow that one run is enough, which the machine's noise does not matter to */
  readonly once?: boolean;
  /**
   * Fetches what is not there and says how a guest is started.
   *
   * @param scratch a directory for its files, which goes away after the run
   * @throws {Error} where it cannot be had
   */
  launch(
    guest: GuestFiles,
    scratch: string,
    progress: Progress,
  ): Promise<Launch>;
}
