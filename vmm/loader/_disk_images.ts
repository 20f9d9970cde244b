// Disk images for tests: file systems that Debian's makefs and genisoimage make of a
// directory, and partition tables around them.

import { debianPackage } from "../../tests/guests/debian.ts";
import { run, succeeds } from "../../tests/guests/run.ts";
import { ByteWriter } from "../firmware/bytes.ts";
import { crc32, SECTOR } from "./gpt.ts";

/** A tree: content of files, `-> target` for links, by path without leading slash. */
export type Tree = Readonly<
  Record<string, Uint8Array | string | { readonly link: string }>
>;

/** Writes a tree into a directory that is there. */
export function writeTree(directory: string, tree: Tree): void {
  for (const [path, content] of Object.entries(tree)) {
    const full = `${directory}/${path}`;
    Deno.mkdirSync(full.slice(0, full.lastIndexOf("/")), { recursive: true });
    if (typeof content === "string") Deno.writeTextFileSync(full, content);
    else if (content instanceof Uint8Array) Deno.writeFileSync(full, content);
    else Deno.symlinkSync(content.link, full);
  }
}

/**
 * A UFS of a directory's files.
 *
 * @param options for makefs, such as `version=2,bsize=4096,fsize=512`
 */
export async function makeUfs(
  directory: string,
  options: string,
): Promise<Uint8Array> {
  const root = await debianPackage("makefs");
  const image = `${directory}.ufs`;
  const args = ["-t", "ffs", ...options.split(" "), image, directory];
  await run(`${root}/usr/sbin/makefs`, args);
  return await take(image);
}

/** An ISO 9660 of a directory's files. @param options such as `-R` */
export async function makeIso(
  directory: string,
  options: readonly string[],
): Promise<Uint8Array> {
  const root = await debianPackage("genisoimage");
  const program = `${root}/usr/bin/genisoimage`;
  const image = `${directory}.iso`;
  const args = [program, "-quiet", ...options, "-o", image, directory];
  await run("env", [...await libraries(program), ...args]);
  return await take(image);
}

async function take(image: string): Promise<Uint8Array> {
  const bytes = await Deno.readFile(image);
  await Deno.remove(image);
  return bytes;
}

// Its libraries are on few machines.
async function libraries(program: string): Promise<string[]> {
  if (await succeeds(program, ["--version"])) return [];
  const names = ["libbz2-1.0", "libmagic1"];
  const roots = await Promise.all(
    names.map((name) =>
      debianPackage(name).catch(() => debianPackage(`${name}t64`))
    ),
  );
  const triplet = (await run("gcc", ["-print-multiarch"])).trim();
  const paths = roots.flatMap((root) => [
    `${root}/lib/${triplet}`,
    `${root}/usr/lib/${triplet}`,
  ]);
  return [`LD_LIBRARY_PATH=${paths.join(":")}`];
}

const FIRST = 64 * SECTOR;

/** A slice of a made-up MBR. */
export interface TestSlice {
  readonly type: number;
  readonly isActive?: boolean;
  readonly bytes: Uint8Array;
}

function entry(slice: TestSlice, start: number): Uint8Array {
  return new ByteWriter().u8(slice.isActive ? 0x80 : 0).zeros(3)
    .u8(slice.type).zeros(3).u32(start / SECTOR)
    .u32(Math.ceil(slice.bytes.length / SECTOR)).finish();
}

/** A disk with slices. */
export function withMbr(slices: readonly TestSlice[]): Uint8Array {
  const sector = new ByteWriter().zeros(446);
  const rest = new ByteWriter().zeros(FIRST - SECTOR);
  for (const slice of slices) {
    rest.align(SECTOR);
    sector.bytes(entry(slice, SECTOR + rest.length));
    rest.bytes(slice.bytes);
  }
  sector.zeros(510 - sector.length).u16(0xaa55);
  return sector.bytes(rest.align(SECTOR).finish()).finish();
}

/** A BSD label over a file system, whose first 8 KiB are free for it. */
export function withLabel(
  bytes: Uint8Array,
  partitions: readonly {
    readonly start: number;
    readonly sectors: number;
    readonly type: number;
  }[],
): Uint8Array {
  const label = new ByteWriter().u32(0x8256_4557).zeros(36).u32(SECTOR)
    .zeros(88).u32(0x8256_4557).u16(0).u16(partitions.length).zeros(8);
  for (const { start, sectors, type } of partitions) {
    label.u32(sectors).u32(start).u32(0).u8(type).zeros(3);
  }
  const copy = bytes.slice();
  copy.set(label.finish(), SECTOR);
  return copy;
}

/** Types of GPT entries, as they are in the table. */
export const GPT_TYPE = {
  FREEBSD_UFS: "516e7cb6-6ecf-11d6-8ff8-00022d09712b",
  FREEBSD_ZFS: "516e7cba-6ecf-11d6-8ff8-00022d09712b",
  EFI: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
} as const;

function guid(text: string): Uint8Array {
  const [a, b, c, ...rest] = text.split("-") as [string, string, string];
  const writer = new ByteWriter().u32(parseInt(a, 16)).u16(parseInt(b, 16))
    .u16(parseInt(c, 16));
  const tail = rest.join("");
  for (let n = 0; n < 16; n += 2) writer.u8(parseInt(tail.slice(n, n + 2), 16));
  return writer.finish();
}

/** An entry of a made-up GPT. */
export interface TestPartition {
  readonly type: string;
  readonly bytes: Uint8Array;
}

const ENTRIES = 128;
const ENTRY = 128;
const TABLE_SECTORS = ENTRIES * ENTRY / SECTOR;

function header(self: number, table: number, entries: Uint8Array): Uint8Array {
  const make = (crc: number) =>
    new ByteWriter().text("EFI PART").u32(0x1_0000).u32(92).u32(crc).u32(0)
      .u64(self).u64(1).u64(34).u64(1_000_000).zeros(16).u64(table)
      .u32(ENTRIES).u32(ENTRY).u32(crc32(entries)).finish();
  return make(crc32(make(0)));
}

/** A disk with a GPT, its copy at the end. */
export function withGpt(partitions: readonly TestPartition[]): Uint8Array {
  const contents = new ByteWriter();
  const table = new ByteWriter();
  for (const { type, bytes } of partitions) {
    const first = (FIRST + contents.align(SECTOR).length) / SECTOR;
    const sectors = Math.ceil(bytes.length / SECTOR);
    table.bytes(guid(type)).zeros(16).u64(first).u64(first + sectors - 1)
      .zeros(80);
    contents.bytes(bytes);
  }
  const entries = table.zeros(ENTRIES * ENTRY - table.length).finish();
  const body = contents.align(SECTOR).finish();
  const copyAt = (FIRST + body.length) / SECTOR;
  const disk = withMbr([{ type: 0xee, bytes: new Uint8Array(SECTOR) }])
    .slice(0, SECTOR);
  const writer = new ByteWriter().bytes(disk).bytes(header(1, 2, entries));
  writer.zeros(2 * SECTOR - writer.length).bytes(entries);
  writer.zeros(FIRST - writer.length).bytes(body).bytes(entries);
  const last = copyAt + TABLE_SECTORS;
  return writer.bytes(header(last, copyAt, entries)).align(SECTOR).finish();
}
