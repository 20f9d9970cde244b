// Multiboot2 kernels (Multiboot2 Specification 2.0, section 3): 32-bit protected
// mode with tagged information. No EFI entry points, no frame buffer.

import { ByteWriter } from "../firmware/bytes.ts";
import { FileReader, type LoaderFile } from "./file.ts";
import { GuestRam, type LoaderMemory } from "./guest_ram.ts";
import {
  type ImageAddresses,
  type MultibootBoot,
  type PlacedModule,
  placeImage,
  placeModules,
} from "./multiboot_image.ts";
import { BOOT_AREA, start32, type StartState } from "./start.ts";
import { cString } from "./text.ts";

const MAGIC = 0xe852_50d6;
const BOOTED = 0x36d7_6289;
/** The header lies in the first bytes of the file, at a multiple of 8. */
const SEARCH = 32768;
const I386 = 0;
const HEADER_BYTES = 16;
const TAG_OPTIONAL = 1;
const TAG = { END: 0, REQUEST: 1, ADDRESS: 2, ENTRY: 3 } as const;
/** Tags that ask for what is done, or is harmless to leave: console, page-aligned
 * modules, EFI, relocation. */
const ACCEPTED_TAGS: readonly number[] = [4, 5, 6, 7, 8, 9, 10];

/** Types of information. */
const INFO = {
  END: 0,
  COMMAND_LINE: 1,
  LOADER_NAME: 2,
  MODULE: 3,
  MEMORY: 4,
  MAP: 6,
} as const;
const PROVIDED: readonly number[] = Object.values(INFO);

/** Offset of the header, or undefined where the file has none. */
export function findMultiboot2({ bytes }: LoaderFile): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(SEARCH, bytes.length) - HEADER_BYTES;
  for (let at = 0; at <= end; at += 8) {
    if (view.getUint32(at, true) !== MAGIC) continue;
    const sum = [0, 4, 8, 12].map((n) => view.getUint32(at + n, true))
      .reduce((a, b) => a + b);
    if (sum % 2 ** 32 === 0) return at;
  }
  return undefined;
}

interface HeaderTag {
  readonly type: number;
  readonly isOptional: boolean;
  readonly at: number;
  readonly size: number;
}

function tagsOf(reader: FileReader, at: number): HeaderTag[] {
  const end = at + reader.u32(at + 8, "the Multiboot2 header");
  reader.require(at, end - at, "the Multiboot2 header");
  const tags: HeaderTag[] = [];
  for (let next = at + HEADER_BYTES; next + 8 <= end;) {
    const type = reader.u16(next);
    const size = reader.u32(next + 4);
    if (size < 8 || next + size > end) {
      throw reader.error(`tag ${type} of its header has a size of ${size}`);
    }
    if (type === TAG.END) break;
    const isOptional = (reader.u16(next + 2) & TAG_OPTIONAL) !== 0;
    tags.push({ type, isOptional, at: next, size });
    next += Math.ceil(size / 8) * 8;
  }
  return tags;
}

function checkTag(reader: FileReader, tag: HeaderTag): void {
  if (tag.isOptional || tag.type === TAG.ADDRESS || tag.type === TAG.ENTRY) {
    return;
  }
  if (tag.type === TAG.REQUEST) {
    for (let at = tag.at + 8; at + 4 <= tag.at + tag.size; at += 4) {
      const wanted = reader.u32(at);
      if (!PROVIDED.includes(wanted)) {
        throw reader.error(`it requires information of type ${wanted}`);
      }
    }
  } else if (!ACCEPTED_TAGS.includes(tag.type)) {
    throw reader.error(`its header has tag ${tag.type}, which is not known`);
  }
}

function addressesOf(
  reader: FileReader,
  header: number,
  tags: readonly HeaderTag[],
): ImageAddresses | undefined {
  const tag = tags.find(({ type }) => type === TAG.ADDRESS);
  if (tag === undefined) return undefined;
  const entry = entryOf(reader, tags);
  if (entry === undefined) {
    throw reader.error("its header has addresses but no entry point");
  }
  const [headerAt, load, loadEnd, bssEnd] = [8, 12, 16, 20]
    .map((n) => reader.u32(tag.at + n, "the address tag")) as [
      number,
      number,
      number,
      number,
    ];
  // all ones: the file is loaded from its beginning
  const offset = load === 0xffff_ffff ? 0 : header - (headerAt - load);
  const start = load === 0xffff_ffff ? headerAt - header : load;
  return { offset, load: start, loadEnd, bssEnd, entry };
}

function entryOf(
  reader: FileReader,
  tags: readonly HeaderTag[],
): number | undefined {
  const tag = tags.find(({ type }) => type === TAG.ENTRY);
  return tag === undefined
    ? undefined
    : reader.u32(tag.at + 8, "the entry tag");
}

function addTag(writer: ByteWriter, type: number, content: Uint8Array): void {
  writer.u32(type).u32(8 + content.length).bytes(content).align(8);
}

interface Content {
  readonly modules: readonly PlacedModule[];
  readonly commandLine: string;
}

function information(
  { map }: GuestRam,
  { modules, commandLine }: Content,
): Uint8Array {
  const tags = new ByteWriter();
  addTag(tags, INFO.COMMAND_LINE, cString(commandLine));
  addTag(tags, INFO.LOADER_NAME, cString("bhyve"));
  for (const { start, end, text } of modules) {
    const places = new ByteWriter().u32(start).u32(end);
    addTag(tags, INFO.MODULE, places.bytes(cString(text)).finish());
  }
  const lower = Math.floor((map[0]?.length ?? 0) / 1024);
  const upper = map.find(({ base }) => base === 0x10_0000)?.length ?? 0;
  const memory = new ByteWriter().u32(lower).u32(Math.floor(upper / 1024));
  addTag(tags, INFO.MEMORY, memory.finish());
  const entries = new ByteWriter().u32(24).u32(0);
  for (const { base, length, type } of map) {
    entries.u64(base).u64(length).u32(type).u32(0);
  }
  addTag(tags, INFO.MAP, entries.finish());
  addTag(tags, INFO.END, new Uint8Array(0));
  return new ByteWriter().u32(8 + tags.length).u32(0).bytes(tags.finish())
    .finish();
}

/**
 * Puts a Multiboot2 kernel into memory.
 *
 * @returns the state in which the boot vCPU starts
 * @throws {LoaderError} for a file without a sound header, one that requires what
 *   is not provided, and where something does not fit
 */
export function loadMultiboot2(
  memory: LoaderMemory,
  boot: MultibootBoot,
): StartState {
  const ram = new GuestRam(memory);
  const reader = new FileReader(boot.kernel, "a Multiboot2 kernel");
  const at = findMultiboot2(boot.kernel);
  if (at === undefined) {
    throw reader.error(
      `expected a header with 0xe85250d6 in the first ${SEARCH} bytes`,
    );
  }
  if (reader.u32(at + 4) !== I386) {
    throw reader.error("its header is not for i386");
  }
  const tags = tagsOf(reader, at);
  for (const tag of tags) checkTag(reader, tag);
  const placed = placeImage(ram, reader, addressesOf(reader, at, tags));
  const entry = entryOf(reader, tags) ?? placed;
  const modules = placeModules(ram, boot);
  const commandLine = boot.commandLine ?? "";
  ram.put(
    "the Multiboot2 information",
    BOOT_AREA.INFORMATION,
    information(ram, { modules, commandLine }),
  );
  return start32(ram, entry, { RAX: BOOTED, RBX: BOOT_AREA.INFORMATION });
}
