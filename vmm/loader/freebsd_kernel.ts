// What tells a FreeBSD/amd64 kernel from other ELF files, where a file is all there is:
// its interpreter, which no system has (conf/kern.pre.mk), or its ABI without any.

import { ELF_MACHINE, ELF_TYPE, isElf, parseElf } from "./elf.ts";
import type { LoaderFile } from "./file.ts";

const INTERPRETER = 3;
const KERNEL_INTERPRETER = "/red/herring";
const ABI_AT = 7;
const ABI_FREEBSD = 9;
const MOST_PATH = 256;

/**
 * The program that a file wants to be run by, as those for an operating system do.
 *
 * @throws {LoaderError} for a damaged ELF file
 */
export function interpreterOf(file: LoaderFile): string | undefined {
  const { segments, reader } = parseElf(file);
  const segment = segments.find(({ type }) => type === INTERPRETER);
  if (segment === undefined) return undefined;
  const length = Math.min(segment.fileSize, MOST_PATH);
  const bytes = reader.slice(segment.offset, length, "the interpreter's path");
  return new TextDecoder().decode(bytes).replace(/\0[^]*$/, "");
}

/**
 * Whether a file is a FreeBSD/amd64 kernel.
 *
 * @throws {LoaderError} for a damaged ELF file
 */
export function isFreeBsdKernel(file: LoaderFile): boolean {
  if (!isElf(file)) return false;
  const { type, machine, header } = parseElf(file);
  if (machine !== ELF_MACHINE.X86_64 || type !== ELF_TYPE.EXEC) return false;
  const interpreter = interpreterOf(file);
  return interpreter === KERNEL_INTERPRETER ||
    (interpreter === undefined && header[ABI_AT] === ABI_FREEBSD);
}
