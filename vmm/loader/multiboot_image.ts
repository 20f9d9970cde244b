// What Multiboot 1 and 2 share: a kernel that is an ELF file or states its own
// addresses, and modules.

import { loadSegments, parseElf, physicalEntry } from "./elf.ts";
import type { FileReader, LoaderFile } from "./file.ts";
import type { GuestRam } from "./guest_ram.ts";

/** A module and the text that goes with it. */
export interface MultibootModule {
  readonly file: LoaderFile;
  /** its command line; its name by default */
  readonly text?: string;
}

/** What is booted. */
export interface MultibootBoot {
  readonly kernel: LoaderFile;
  readonly modules?: readonly MultibootModule[];
  /** the kernel's command line */
  readonly commandLine?: string;
}

/** Where a kernel says that it goes. */
export interface ImageAddresses {
  /** of the first byte in the file that is loaded */
  readonly offset: number;
  readonly load: number;
  /** behind the last byte that is loaded; 0 for the file's end */
  readonly loadEnd: number;
  /** behind the zeros that follow; 0 for none */
  readonly bssEnd: number;
  readonly entry: number;
}

/**
 * Puts a kernel into memory.
 *
 * @param addresses undefined for an ELF file that goes where its headers say
 * @returns its entry point
 * @throws {LoaderError} where the addresses make no sense or it does not fit
 */
export function placeImage(
  ram: GuestRam,
  reader: FileReader,
  addresses: ImageAddresses | undefined,
): number {
  if (addresses === undefined) {
    const elf = parseElf(reader.file, reader.kind);
    loadSegments(ram, elf);
    return physicalEntry(elf);
  }
  const { offset, load, loadEnd, bssEnd, entry } = addresses;
  const length = loadEnd === 0 ? reader.length - offset : loadEnd - load;
  const content = reader.slice(offset, length, "the kernel");
  const span = Math.max(length, bssEnd - load);
  const target = ram.take(reader.file.name, load, span);
  target.set(content);
  target.fill(0, length);
  return entry;
}

/** A module in memory. */
export interface PlacedModule {
  readonly start: number;
  /** behind its last byte */
  readonly end: number;
  readonly text: string;
}

/** Puts the modules into memory, each at a page. @throws {LoaderError} */
export function placeModules(
  ram: GuestRam,
  { modules = [] }: MultibootBoot,
): PlacedModule[] {
  return modules.map(({ file, text }) => {
    const start = ram.putHigh(file.name, file.bytes);
    const end = start + file.bytes.length;
    return { start, end, text: text ?? file.name };
  });
}
