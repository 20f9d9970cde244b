// A file that goes into memory whole: no larger than the machine's memory, with a word
// about the progress where it takes seconds.

import { LoaderError, type LoaderFile } from "../vmm/loader/mod.ts";
import { attempt, openNamed } from "./named_file.ts";

const PIECE = 2 ** 24;
const QUIET_MS = 2000;
const MIB = 2 ** 20;

/** How a file is read. */
export interface ReadOptions {
  /** what it should be, such as `a kernel` */
  readonly expected: string;
  /** bytes that it may have */
  readonly mostBytes: number;
  /** Is told how far reading is, every few seconds. */
  readonly progress: (message: string) => void;
}

/** Says how far something is, but only where it takes long. */
function reporter(path: string, size: number, options: ReadOptions) {
  let last = performance.now();
  return (done: number) => {
    if (performance.now() - last < QUIET_MS) return;
    last = performance.now();
    const percent = Math.floor(done / size * 100);
    options.progress(`Reading ${path}: ${percent} % of ${mebibytes(size)}`);
  };
}

/** Bytes as a person reads them. */
export function mebibytes(bytes: number): string {
  return bytes < MIB / 10
    ? `${bytes} bytes`
    : `${(bytes / MIB).toFixed(1)} MiB`;
}

function readAll(
  file: Deno.FsFile,
  bytes: Uint8Array,
  report: (done: number) => void,
): number {
  let done = 0;
  while (done < bytes.length) {
    const count = file.readSync(bytes.subarray(done, done + PIECE));
    if (count === null) break;
    done += count;
    report(done);
  }
  return done;
}

/**
 * Reads a file whole.
 *
 * @throws {LoadRefusal} where it cannot be opened or read
 * @throws {LoaderError} where it is too large, or gets shorter meanwhile
 */
export function readWhole(path: string, options: ReadOptions): LoaderFile {
  using file = openNamed(path, options.expected);
  const size = attempt(path, () => file.seekSync(0, Deno.SeekMode.End));
  if (size > options.mostBytes) {
    throw new LoaderError(
      `Cannot load ${path}: it has ${mebibytes(size)}, the machine's memory ${
        mebibytes(options.mostBytes)
      }`,
    );
  }
  const bytes = new Uint8Array(size);
  const done = attempt(path, () => {
    file.seekSync(0, Deno.SeekMode.Start);
    return readAll(file, bytes, reporter(path, size, options));
  });
  if (done < size) {
    throw new LoaderError(
      `Cannot load ${path}: it ended at ${done} bytes, expected ${size}`,
    );
  }
  return { name: path, bytes };
}
