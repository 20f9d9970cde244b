// FreeBSD's kernel, its modules and other preloaded files in memory, one behind
// another (what loader(8) does for amd64). Modules are relocatable objects; shared
// objects, as on i386, are refused, and dependencies are not looked up.

import { ByteWriter } from "../firmware/bytes.ts";
import {
  ELF_MACHINE,
  ELF_TYPE,
  type ElfFile,
  loadSegments,
  parseElf,
  SECTION_ALLOCATED,
  SECTION_TYPE,
  SEGMENT_TYPE,
} from "./elf.ts";
import type { LoaderFile } from "./file.ts";
import {
  type LoadedFile,
  METADATA,
  type MetadataRecord,
  quad,
} from "./freebsd_metadata.ts";
import { type GuestRam, roundUp } from "./guest_ram.ts";

const PAGE = 4096;
/** Virtual addresses keep these bits: KERNBASE and the identity map agree. */
const PHYSICAL = 0x7fff_ffffn;

/** A kernel in memory. */
export interface LoadedKernel {
  readonly file: LoadedFile;
  /** virtual address of its entry point */
  readonly entry: bigint;
}

interface SymbolTable {
  readonly content: Uint8Array;
  readonly metadata: (at: number) => MetadataRecord[];
}

// Symbols and their names, each behind its size: the form that the kernel's
// debugger reads.
function symbols(elf: ElfFile): SymbolTable | undefined {
  const table = elf.sections.find(({ type }) => type === SECTION_TYPE.SYMTAB);
  const names = table && elf.sections[table.link];
  if (table === undefined || names?.type !== SECTION_TYPE.STRTAB) {
    return undefined;
  }
  const writer = new ByteWriter();
  for (const { offset, size } of [table, names]) {
    writer.u64(size).bytes(elf.reader.slice(offset, size, "the symbols"))
      .align(8);
  }
  const content = writer.finish();
  return {
    content,
    metadata: (at) => [
      [METADATA.SSYM, quad(at)],
      [METADATA.ESYM, quad(at + content.length)],
    ],
  };
}

/** Puts a kernel into memory. @throws {LoaderError} */
export function placeKernel(ram: GuestRam, file: LoaderFile): LoadedKernel {
  const elf = parseElf(file, "a FreeBSD kernel");
  if (elf.machine !== ELF_MACHINE.X86_64 || elf.type !== ELF_TYPE.EXEC) {
    throw elf.reader.error("expected an executable for x86-64");
  }
  const { start, end } = loadSegments(
    ram,
    elf,
    ({ vaddr }) => vaddr & PHYSICAL,
  );
  const found = symbols(elf);
  const at = roundUp(end, 8);
  if (found !== undefined) ram.put("the kernel's symbols", at, found.content);
  const dynamic = elf.segments.find(({ type }) =>
    type === SEGMENT_TYPE.DYNAMIC
  );
  const metadata: MetadataRecord[] = [
    [METADATA.ELFHDR, elf.header],
    ...(found?.metadata(at) ?? []),
  ];
  if (dynamic !== undefined) {
    metadata.push([METADATA.DYNAMIC, quad(Number(dynamic.vaddr & PHYSICAL))]);
  }
  const size = found === undefined ? end - start : at + found.content.length -
    start;
  return {
    file: {
      name: file.name,
      type: "elf kernel",
      address: start,
      size,
      metadata,
    },
    entry: elf.entry,
  };
}

const CONTENT_TYPES: readonly number[] = [
  ...[SECTION_TYPE.PROGBITS, SECTION_TYPE.NOBITS, SECTION_TYPE.INIT_ARRAY],
  ...[SECTION_TYPE.FINI_ARRAY, SECTION_TYPE.X86_64_UNWIND],
];
const RELOCATION_TYPES: readonly number[] = [
  SECTION_TYPE.REL,
  SECTION_TYPE.RELA,
];
const MOST_ALIGNMENT = 2 ** 21;

/** The sections to load, in the order in which they lie in memory. */
function loadedSections(elf: ElfFile): number[] {
  const { sections, reader, nameSection } = elf;
  const select = (wanted: (n: number) => boolean) =>
    [...sections.keys()].filter(wanted);
  const isContent = (n: number) => {
    const { type, flags, size } = sections[n]!;
    return CONTENT_TYPES.includes(type) && size > 0 &&
      (flags & SECTION_ALLOCATED) !== 0n;
  };
  const tables = select((n) => sections[n]!.type === SECTION_TYPE.SYMTAB);
  const [table] = tables;
  if (table === undefined || tables.length > 1) {
    throw reader.error(
      `it has ${tables.length} symbol tables, expected one`,
    );
  }
  const names = sections[table]!.link;
  for (const n of [names, nameSection]) {
    if (sections[n]?.type !== SECTION_TYPE.STRTAB) {
      throw reader.error(`section ${n} is no string table`);
    }
  }
  const relocations = select((n) =>
    RELOCATION_TYPES.includes(sections[n]!.type) &&
    sections[sections[n]!.info] !== undefined && isContent(sections[n]!.info)
  );
  const list = [...select(isContent), table, names, nameSection];
  return [...new Set([...list, ...relocations])];
}

const SECTION_ADDRESS = 16;
const SECTION_BYTES = 64;

interface SectionPlace {
  readonly index: number;
  readonly at: number;
}

function placesOf(elf: ElfFile, start: number): SectionPlace[] {
  let next = start;
  return loadedSections(elf).map((index) => {
    const { alignment, size } = elf.sections[index]!;
    const step = Math.max(alignment, 1);
    if (!Number.isInteger(Math.log2(step)) || step > MOST_ALIGNMENT) {
      throw elf.reader.error(
        `section ${index} is aligned to ${alignment}, expected a power of two up to ${MOST_ALIGNMENT}`,
      );
    }
    const at = roundUp(next, step);
    next = at + size;
    return { index, at };
  });
}

/** What a preloaded file is called, and its arguments. */
export interface PreloadOptions {
  readonly type?: string;
  readonly flags?: string;
}

/**
 * Puts a kernel module into memory, from a page on.
 *
 * @throws {LoaderError}
 */
export function placeModule(
  ram: GuestRam,
  file: LoaderFile,
  start: number,
  { flags }: PreloadOptions = {},
): LoadedFile {
  const elf = parseElf(file, "a FreeBSD module");
  if (elf.machine !== ELF_MACHINE.X86_64 || elf.type !== ELF_TYPE.REL) {
    throw elf.reader.error("expected a relocatable object for x86-64");
  }
  const places = placesOf(elf, start);
  const headers = elf.sectionHeaders.slice();
  const view = new DataView(headers.buffer);
  const last = places.at(-1)!;
  const size = Math.max(
    ...places.map(({ index, at }) => at + elf.sections[index]!.size),
    last.at,
  ) - start;
  const target = ram.take(file.name, start, size).fill(0);
  for (const { index, at } of places) {
    const section = elf.sections[index]!;
    const field = index * SECTION_BYTES + SECTION_ADDRESS;
    view.setBigUint64(field, BigInt(at), true);
    if (section.type === SECTION_TYPE.NOBITS) continue;
    const content = elf.reader.slice(section.offset, section.size, "a section");
    target.set(content, at - start);
  }
  return {
    name: file.name,
    type: "elf obj module",
    ...(flags === undefined ? {} : { args: flags }),
    address: start,
    size,
    metadata: [[METADATA.ELFHDR, elf.header], [METADATA.SHDR, headers]],
  };
}

/** Puts any other file into memory, from a page on. @throws {LoaderError} */
export function placeRaw(
  ram: GuestRam,
  file: LoaderFile,
  start: number,
  { type, flags }: PreloadOptions & { readonly type: string },
): LoadedFile {
  ram.put(file.name, start, file.bytes);
  return {
    name: file.name,
    type,
    ...(flags === undefined ? {} : { args: flags }),
    address: start,
    size: file.bytes.length,
    metadata: [],
  };
}

/** The page behind a file. */
export function pageBehind({ address, size }: LoadedFile): number {
  return roundUp(address + size, PAGE);
}
