// What tells a FreeBSD/amd64 kernel from other ELF files, where a file is all there is:
// its interpreter, which no system has (conf/kern.pre.mk), or else its ABI, or that it
// is linked to KERNBASE without physical addresses of its own.

import {
  ELF_MACHINE,
  ELF_TYPE,
  type ElfFile,
  isElf,
  parseElf,
  SEGMENT_TYPE,
} from "./elf.ts";
import type { LoaderFile } from "./file.ts";

const INTERPRETER = 3;
const KERNEL_INTERPRETER = "/red/herring";
const ABI_AT = 7;
const ABI_FREEBSD = 9;
const KERNBASE = 0xffff_ffff_8000_0000n;
const MOST_PATH = 256;

function interpreter({ segments, reader }: ElfFile): string | undefined {
  const segment = segments.find(({ type }) => type === INTERPRETER);
  if (segment === undefined) return undefined;
  const length = Math.min(segment.fileSize, MOST_PATH);
  const bytes = reader.slice(segment.offset, length, "the interpreter's path");
  return new TextDecoder().decode(bytes).replace(/\0[^]*$/, "");
}

/**
 * The program that a file wants to be run by, as those for an operating system do.
 *
 * @throws {LoaderError} for a damaged ELF file
 */
export function interpreterOf(file: LoaderFile): string | undefined {
  return interpreter(parseElf(file));
}

function isAtKernbase({ segments }: ElfFile): boolean {
  const loadable = segments.filter(({ type }) => type === SEGMENT_TYPE.LOAD);
  return loadable.length > 0 &&
    loadable.every(({ vaddr, paddr }) => vaddr >= KERNBASE && vaddr === paddr);
}

/**
 * Whether a file is a FreeBSD/amd64 kernel.
 *
 * @throws {LoaderError} for a damaged ELF file
 */
export function isFreeBsdKernel(file: LoaderFile): boolean {
  if (!isElf(file)) return false;
  const elf = parseElf(file);
  if (elf.machine !== ELF_MACHINE.X86_64 || elf.type !== ELF_TYPE.EXEC) {
    return false;
  }
  const wanted = interpreter(elf);
  if (wanted !== undefined) return wanted === KERNEL_INTERPRETER;
  return elf.header[ABI_AT] === ABI_FREEBSD || isAtKernbase(elf);
}
