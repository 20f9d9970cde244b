// ELF files for x86 (System V ABI, chapter 4; AMD64 and i386 supplements): headers,
// segments, sections and notes, with every offset and size checked.

import { FileReader, type LoaderFile } from "./file.ts";
import type { GuestRam } from "./guest_ram.ts";

/** Object file types. */
export const ELF_TYPE = { REL: 1, EXEC: 2, DYN: 3 } as const;
/** Machines. */
export const ELF_MACHINE = { I386: 3, X86_64: 62 } as const;
/** Segment types. */
export const SEGMENT_TYPE = { LOAD: 1, DYNAMIC: 2, NOTE: 4 } as const;
/** Section types that loaders look at. */
export const SECTION_TYPE = {
  PROGBITS: 1,
  SYMTAB: 2,
  STRTAB: 3,
  RELA: 4,
  NOBITS: 8,
  REL: 9,
  INIT_ARRAY: 14,
  FINI_ARRAY: 15,
  X86_64_UNWIND: 0x7000_0001,
} as const;
/** The section occupies memory. */
export const SECTION_ALLOCATED = 2n;

/** A program header. */
export interface ElfSegment {
  readonly type: number;
  /** bytes in the file, already checked to lie in it */
  readonly offset: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly vaddr: bigint;
  readonly paddr: bigint;
}

/** A section header. */
export interface ElfSection {
  readonly type: number;
  readonly flags: bigint;
  readonly offset: number;
  /** checked to lie in the file, unless it takes no space there */
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly alignment: number;
}

/** An ELF file. */
export interface ElfFile {
  readonly reader: FileReader;
  readonly bits: 32 | 64;
  readonly type: number;
  readonly machine: number;
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  readonly sections: readonly ElfSection[];
  /** index of the section with the sections' names */
  readonly nameSection: number;
  /** the file header's bytes */
  readonly header: Uint8Array;
  /** the section headers' bytes */
  readonly sectionHeaders: Uint8Array;
}

/** Offsets of header fields; `wide` ones have the file's word size. */
interface Layout {
  readonly header: number;
  readonly entry: number;
  readonly phoff: number;
  readonly shoff: number;
  /** e_ehsize; the other 16-bit fields follow it */
  readonly ehsize: number;
  readonly phdr: {
    readonly size: number;
    readonly offset: number;
    readonly vaddr: number;
    readonly paddr: number;
    readonly filesz: number;
    readonly memsz: number;
  };
  readonly shdr: {
    readonly size: number;
    readonly flags: number;
    readonly offset: number;
    readonly bytes: number;
    readonly link: number;
    readonly align: number;
  };
}

const LAYOUTS: Readonly<Record<32 | 64, Layout>> = {
  32: {
    ...{ header: 52, entry: 24, phoff: 28, shoff: 32, ehsize: 40 },
    phdr: { size: 32, offset: 4, vaddr: 8, paddr: 12, filesz: 16, memsz: 20 },
    shdr: { size: 40, flags: 8, offset: 16, bytes: 20, link: 24, align: 32 },
  },
  64: {
    ...{ header: 64, entry: 24, phoff: 32, shoff: 40, ehsize: 52 },
    phdr: { size: 56, offset: 8, vaddr: 16, paddr: 24, filesz: 32, memsz: 40 },
    shdr: { size: 64, flags: 8, offset: 24, bytes: 32, link: 40, align: 48 },
  },
};

const MAGIC = 0x464c_457f;

/** Whether a file begins like an ELF file. */
export function isElf({ bytes }: LoaderFile): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 &&
    bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** Reads fields of the file's word size. */
class ElfReader {
  readonly layout: Layout;

  constructor(readonly file: FileReader, readonly bits: 32 | 64) {
    this.layout = LAYOUTS[bits];
  }

  word(offset: number, what: string): bigint {
    return this.bits === 64
      ? this.file.u64(offset, what)
      : BigInt(this.file.u32(offset, what));
  }

  /** A word that is an offset or size; one beyond 2^53 is in no file or memory. */
  size(offset: number, what: string): number {
    const value = this.word(offset, what);
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw this.file.error(`${what} is 0x${value.toString(16)}`);
  }
}

function readSegment(reader: ElfReader, at: number): ElfSegment {
  const { file, layout: { phdr } } = reader;
  const segment = {
    type: file.u32(at, "a program header"),
    offset: reader.size(at + phdr.offset, "a segment's offset"),
    fileSize: reader.size(at + phdr.filesz, "a segment's file size"),
    memorySize: reader.size(at + phdr.memsz, "a segment's memory size"),
    vaddr: reader.word(at + phdr.vaddr, "a program header"),
    paddr: reader.word(at + phdr.paddr, "a program header"),
  };
  const isUsed = Object.values(SEGMENT_TYPE).some((t) => t === segment.type);
  if (isUsed) file.require(segment.offset, segment.fileSize, "a segment");
  if (
    segment.type === SEGMENT_TYPE.LOAD && segment.fileSize > segment.memorySize
  ) {
    throw file.error(
      `a segment has ${segment.fileSize} bytes in the file and ${segment.memorySize} in memory`,
    );
  }
  return segment;
}

function readSection(reader: ElfReader, at: number): ElfSection {
  const { file, layout: { shdr } } = reader;
  const type = file.u32(at + 4, "a section header");
  const section = {
    type,
    flags: reader.word(at + shdr.flags, "a section header"),
    offset: reader.size(at + shdr.offset, "a section's offset"),
    size: reader.size(at + shdr.bytes, "a section's size"),
    link: file.u32(at + shdr.link, "a section header"),
    info: file.u32(at + shdr.link + 4, "a section header"),
    alignment: reader.size(at + shdr.align, "a section's alignment"),
  };
  if (type !== 0 && type !== SECTION_TYPE.NOBITS) {
    file.require(section.offset, section.size, "a section");
  }
  return section;
}

interface HeaderTable {
  readonly offset: number;
  readonly count: number;
  readonly size: number;
  readonly expected: number;
  readonly what: string;
}

function offsets(file: FileReader, table: HeaderTable): number[] {
  const { offset, count, size, expected, what } = table;
  if (count === 0) return [];
  if (size !== expected) {
    throw file.error(`${what} have ${size} bytes each, expected ${expected}`);
  }
  file.require(offset, count * size, what);
  return Array.from({ length: count }, (_, n) => offset + n * size);
}

function bitsOf(file: FileReader): 32 | 64 {
  if (file.u32(0, "the ELF header") !== MAGIC) {
    throw file.error("expected it to begin with 0x7f, ELF");
  }
  const kind = file.u8(4, "the ELF header");
  if (file.u8(5, "the ELF header") !== 1 || (kind !== 1 && kind !== 2)) {
    throw file.error("expected a little-endian file of 32 or 64 bits");
  }
  return kind === 1 ? 32 : 64;
}

/**
 * Reads an ELF file's headers.
 *
 * @param kind what it is taken for, for messages
 * @throws {LoaderError} for anything that is not a sound ELF file for x86
 */
export function parseElf(file: LoaderFile, kind = "ELF"): ElfFile {
  const reader = new FileReader(file, kind);
  const bits = bitsOf(reader);
  const words = new ElfReader(reader, bits);
  const { header, entry, phoff, shoff, ehsize, phdr, shdr } = words.layout;
  reader.require(0, header, "the ELF header");
  const machine = reader.u16(18);
  if (machine !== (bits === 64 ? ELF_MACHINE.X86_64 : ELF_MACHINE.I386)) {
    throw reader.error(
      `it is for machine ${machine}, expected x86-64 or i386`,
    );
  }
  const [phsize, phnum, shsize, shnum, shstrndx] = [2, 4, 6, 8, 10]
    .map((n) => reader.u16(ehsize + n)) as [
      number,
      number,
      number,
      number,
      number,
    ];
  const sectionTable = words.size(shoff, "the section headers' offset");
  const programs = offsets(reader, {
    offset: words.size(phoff, "the program headers' offset"),
    count: phnum,
    size: phsize,
    expected: phdr.size,
    what: "the program headers",
  });
  const sections = offsets(reader, {
    offset: sectionTable,
    count: sectionTable === 0 ? 0 : shnum,
    size: shsize,
    expected: shdr.size,
    what: "the section headers",
  });
  return {
    reader,
    bits,
    type: reader.u16(16),
    machine,
    entry: words.word(entry, "the entry point"),
    segments: programs.map((at) => readSegment(words, at)),
    sections: sections.map((at) => readSection(words, at)),
    nameSection: shstrndx,
    header: reader.slice(0, header, "the ELF header"),
    sectionHeaders: reader.slice(
      sectionTable,
      sections.length * shdr.size,
      "the section headers",
    ),
  };
}

/**
 * Puts every loadable segment into memory.
 *
 * @param physical where a segment goes; its physical address by default
 * @returns first address and first address behind
 * @throws {LoaderError} where there is none, or one lies outside memory or over
 *   something else
 */
export function loadSegments(
  ram: GuestRam,
  elf: ElfFile,
  physical: (segment: ElfSegment) => bigint = ({ paddr }) => paddr,
): { readonly start: number; readonly end: number } {
  const loadable = elf.segments.filter(({ type, memorySize }) =>
    type === SEGMENT_TYPE.LOAD && memorySize > 0
  );
  if (loadable.length === 0) {
    throw elf.reader.error("it has no loadable segment");
  }
  let [start, end] = [Infinity, 0];
  for (const segment of loadable) {
    const { offset, fileSize, memorySize } = segment;
    const at = Number(physical(segment));
    const name = `a segment of ${elf.reader.file.name}`;
    const target = ram.take(name, at, memorySize);
    target.set(elf.reader.slice(offset, fileSize, "a segment"));
    target.fill(0, fileSize);
    start = Math.min(start, at);
    end = Math.max(end, at + memorySize);
  }
  return { start, end };
}

/**
 * The physical address of the entry point, which a file may give as virtual.
 *
 * @throws {LoaderError} where no segment has it
 */
export function physicalEntry(elf: ElfFile): number {
  const { entry, segments } = elf;
  const loadable = segments.filter(({ type }) => type === SEGMENT_TYPE.LOAD);
  const has = (start: bigint, size: number) =>
    entry >= start && entry < start + BigInt(size);
  if (loadable.some((s) => has(s.paddr, s.memorySize))) return Number(entry);
  const segment = loadable.find((s) => has(s.vaddr, s.memorySize));
  if (segment === undefined) {
    throw elf.reader.error(
      `no segment has the entry point 0x${entry.toString(16)}`,
    );
  }
  return Number(entry - segment.vaddr + segment.paddr);
}

/** The description of the first note with a name and a type. @throws {LoaderError} */
export function findNote(
  { reader, segments }: ElfFile,
  name: string,
  type: number,
): Uint8Array | undefined {
  for (const segment of segments.filter((s) => s.type === SEGMENT_TYPE.NOTE)) {
    const end = segment.offset + segment.fileSize;
    for (let at = segment.offset; at + 12 <= end;) {
      const nameSize = reader.u32(at, "a note");
      const size = reader.u32(at + 4, "a note");
      const owner = reader.slice(at + 12, nameSize, "a note's name");
      const from = at + 12 + Math.ceil(nameSize / 4) * 4;
      const found = String.fromCharCode(...owner.subarray(0, 64));
      if (found === `${name}\0` && reader.u32(at + 8, "a note") === type) {
        return reader.slice(from, size, "a note");
      }
      at = from + Math.ceil(size / 4) * 4;
    }
  }
  return undefined;
}
