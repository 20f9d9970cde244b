// Memory, ELF files and a FreeBSD system made up for the tests of loaders.

import { ByteWriter } from "../firmware/bytes.ts";
import { type RegisterNumber } from "../cpu/registers.ts";
import type { SegmentDescriptor } from "../cpu/cpu.ts";
import type { LoaderMemory } from "./guest_ram.ts";
import type { StartState } from "./start.ts";

/** Memory from 0, zeroed. */
export class TestMemory implements LoaderMemory {
  readonly bytes: Uint8Array;
  readonly data: DataView;
  readonly highmem = 0;

  constructor(readonly lowmem: number) {
    this.bytes = new Uint8Array(lowmem);
    this.data = new DataView(this.bytes.buffer);
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    if (gpa + length > this.lowmem) return undefined;
    return this.bytes.subarray(gpa, gpa + length);
  }

  u32(gpa: number): number {
    return this.data.getUint32(gpa, true);
  }

  u64(gpa: number): number {
    return Number(this.data.getBigUint64(gpa, true));
  }

  text(gpa: number): string {
    const end = this.bytes.indexOf(0, gpa);
    return new TextDecoder().decode(this.bytes.slice(gpa, end));
  }
}

/** Looks registers and descriptors up in a start state. */
export function lookUp(state: StartState) {
  const registers = new Map<RegisterNumber, bigint>(state.registers);
  const descriptors = new Map<RegisterNumber, SegmentDescriptor>(
    state.descriptors,
  );
  return {
    register: (n: RegisterNumber) => registers.get(n),
    descriptor: (n: RegisterNumber) => descriptors.get(n),
  };
}

/** A segment of a made-up file. */
export interface TestSegment {
  readonly type?: number;
  readonly vaddr?: bigint;
  readonly paddr: bigint;
  readonly bytes: Uint8Array;
  readonly memorySize?: number;
}

/** A section of a made-up file. */
export interface TestSection {
  readonly type: number;
  readonly flags?: number;
  readonly bytes?: Uint8Array;
  readonly size?: number;
  readonly link?: number;
  readonly info?: number;
  readonly alignment?: number;
}

/** A made-up ELF file. */
export interface TestElf {
  readonly bits?: 32 | 64;
  readonly type?: number;
  readonly machine?: number;
  readonly entry?: bigint;
  readonly segments?: readonly TestSegment[];
  readonly sections?: readonly TestSection[];
  readonly nameSection?: number;
}

/** The bytes of a made-up ELF file: header, program headers, contents, sections. */
export function makeElf(elf: TestElf): Uint8Array {
  const { bits = 64, segments = [], sections = [] } = elf;
  const is64 = bits === 64;
  const word = (w: ByteWriter, v: bigint | number) =>
    is64 ? w.u64(v) : w.u32(Number(v));
  const [header, phsize, shsize] = is64 ? [64, 56, 64] : [52, 32, 40];
  const contents = new ByteWriter();
  const base = Math.ceil((header! + segments.length * phsize!) / 16) * 16;
  const place = (bytes: Uint8Array | undefined) => {
    contents.align(16);
    const at = base + contents.length;
    contents.bytes(bytes ?? []);
    return at;
  };
  const programs = new ByteWriter();
  for (const s of segments) {
    const { type = 1, vaddr = s.paddr, paddr, bytes } = s;
    const offset = place(bytes);
    const size = s.memorySize ?? bytes.length;
    programs.u32(type);
    if (is64) programs.u32(7);
    for (const v of [offset, vaddr, paddr, bytes.length, size]) {
      word(programs, v);
    }
    if (!is64) programs.u32(7);
    word(programs, 0x1000);
  }
  const table = new ByteWriter();
  for (const s of sections) {
    const offset = place(s.bytes);
    word(table.u32(0).u32(s.type), s.flags ?? 0);
    word(word(word(table, 0), offset), s.size ?? s.bytes?.length ?? 0);
    word(word(table.u32(s.link ?? 0).u32(s.info ?? 0), s.alignment ?? 1), 0);
  }
  contents.align(16);
  const writer = new ByteWriter().bytes([0x7f, 0x45, 0x4c, 0x46])
    .u8(is64 ? 2 : 1).u8(1).u8(1).zeros(9).u16(elf.type ?? 2)
    .u16(elf.machine ?? (is64 ? 62 : 3)).u32(1);
  word(writer, elf.entry ?? 0n);
  word(writer, segments.length === 0 ? 0 : header!);
  word(writer, sections.length === 0 ? 0 : base + contents.length);
  writer.u32(0).u16(header!).u16(phsize!).u16(segments.length)
    .u16(shsize!).u16(sections.length).u16(elf.nameSection ?? 0);
  return writer.bytes(programs.finish()).align(16).bytes(contents.finish())
    .bytes(table.finish()).finish();
}

/** Every file cut off at many places, and with its header's bytes overwritten. */
export function* damaged(bytes: Uint8Array): Generator<Uint8Array> {
  const step = Math.max(1, Math.floor(bytes.length / 200));
  for (let n = 0; n < bytes.length; n += step) yield bytes.slice(0, n);
  for (let n = 0; n < Math.min(bytes.length, 0x400); n++) {
    for (const value of [0, 0x7f, 0xff]) {
      const copy = bytes.slice();
      copy[n] = value;
      yield copy;
    }
  }
}
