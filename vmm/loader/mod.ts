// Loaders: what puts a system into a guest's memory without firmware, and what kind
// of kernel a file is.

import { ELF_TYPE, findNote, isElf, parseElf } from "./elf.ts";
import type { LoaderFile } from "./file.ts";
import { isBzImage } from "./linux.ts";
import { findMultiboot } from "./multiboot.ts";
import { findMultiboot2 } from "./multiboot2.ts";

export { LoaderError, type LoaderFile } from "./file.ts";
export type { LoaderFileSystem } from "./file_system.ts";
export { type FreeBsdBoot, loadFreeBsd } from "./freebsd.ts";
export type { LoaderMemory } from "./guest_ram.ts";
export { type LinuxBoot, loadLinux } from "./linux.ts";
export { loadMultiboot } from "./multiboot.ts";
export { loadMultiboot2 } from "./multiboot2.ts";
export type { MultibootBoot, MultibootModule } from "./multiboot_image.ts";
export { loadPvh, type PvhBoot } from "./pvh.ts";
export { applyStart, type StartState, type StartTarget } from "./start.ts";

/** Kinds of kernels that are one file. */
export type KernelKind =
  | "bzimage"
  | "multiboot2"
  | "multiboot"
  | "pvh"
  | "elf";

/**
 * What kind of kernel a file is; undefined for none that can be loaded. `elf` is one
 * without any other mark, as a vmlinux of i386 is.
 *
 * @throws {LoaderError} for a damaged ELF file
 */
export function kernelKind(file: LoaderFile): KernelKind | undefined {
  if (isBzImage(file)) return "bzimage";
  if (findMultiboot2(file) !== undefined) return "multiboot2";
  if (findMultiboot(file) !== undefined) return "multiboot";
  if (!isElf(file)) return undefined;
  const elf = parseElf(file);
  if (elf.type !== ELF_TYPE.EXEC && elf.type !== ELF_TYPE.DYN) return undefined;
  return findNote(elf, "Xen", 18) === undefined ? "elf" : "pvh";
}
