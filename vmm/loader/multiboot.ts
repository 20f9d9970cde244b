// Multiboot kernels (Multiboot Specification 0.6.96, section 3): 32-bit protected
// mode with an information structure. No video modes are set, as that is optional.

import { ByteWriter } from "../firmware/bytes.ts";
import { FileReader, type LoaderFile } from "./file.ts";
import { GuestRam, type LoaderMemory } from "./guest_ram.ts";
import {
  type ImageAddresses,
  type MultibootBoot,
  placeImage,
  placeModules,
} from "./multiboot_image.ts";
import { BOOT_AREA, start32, type StartState } from "./start.ts";
import { cString } from "./text.ts";

const MAGIC = 0x1bad_b002;
const BOOTED = 0x2bad_b002;
/** The header lies in the first bytes of the file, at a multiple of 4. */
const SEARCH = 8192;
/** Flags up to bit 15 must be understood; from 16 on they may be ignored. */
const REQUIRED = 0xffff;
const UNDERSTOOD = 0b111;
const HAS_ADDRESSES = 1 << 16;
const LOADER_NAME = "bhyve";

/** Offset of the header, or undefined where the file has none. */
export function findMultiboot({ bytes }: LoaderFile): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(SEARCH, bytes.length) - 12;
  for (let at = 0; at <= end; at += 4) {
    if (view.getUint32(at, true) !== MAGIC) continue;
    const sum = MAGIC + view.getUint32(at + 4, true) +
      view.getUint32(at + 8, true);
    if (sum % 2 ** 32 === 0) return at;
  }
  return undefined;
}

function addressesOf(reader: FileReader, at: number): ImageAddresses {
  const [header, load, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28]
    .map((n) => reader.u32(at + n, "the Multiboot header")) as [
      number,
      number,
      number,
      number,
      number,
    ];
  // the file's offset of the first byte that is loaded follows from the header's
  return { offset: at - (header - load), load, loadEnd, bssEnd, entry };
}

const HAS = { MEMORY: 1, COMMAND_LINE: 4, MODULES: 8, MAP: 64, NAME: 512 };
const INFO_BYTES = 120;

interface Places {
  readonly modules: readonly {
    readonly start: number;
    readonly end: number;
    readonly text: string;
  }[];
  readonly commandLine: string;
}

// The structure, then modules, map and texts, all in one piece.
function information(ram: GuestRam, { modules, commandLine }: Places) {
  const base = BOOT_AREA.INFORMATION;
  const list = base + INFO_BYTES;
  const map = ram.map;
  const mapAt = list + 16 * modules.length;
  const texts = [commandLine, LOADER_NAME, ...modules.map(({ text }) => text)]
    .map(cString);
  let next = mapAt + 24 * map.length;
  const [lineAt, nameAt, ...moduleTexts] = texts.map((text) => {
    const at = next;
    next += text.length;
    return at;
  }) as [number, number, ...number[]];
  const lower = (map[0]?.length ?? 0) / 1024;
  const upper = (map.find(({ base }) => base === 0x10_0000)?.length ?? 0) /
    1024;
  const flags = HAS.MEMORY | HAS.COMMAND_LINE | HAS.MODULES | HAS.MAP |
    HAS.NAME;
  const writer = new ByteWriter().u32(flags).u32(Math.floor(lower))
    .u32(Math.floor(upper)).u32(0).u32(lineAt).u32(modules.length).u32(list)
    .zeros(16).u32(24 * map.length).u32(mapAt).zeros(12).u32(nameAt);
  writer.zeros(INFO_BYTES - writer.length);
  for (const [n, { start, end }] of modules.entries()) {
    writer.u32(start).u32(end).u32(moduleTexts[n]!).u32(0);
  }
  for (const { base, length, type } of map) {
    writer.u32(20).u64(base).u64(length).u32(type);
  }
  for (const text of texts) writer.bytes(text);
  return writer.finish();
}

/**
 * Puts a Multiboot kernel into memory.
 *
 * @returns the state in which the boot vCPU starts
 * @throws {LoaderError} for a file without a sound header, one that requires what
 *   is not known, and where something does not fit
 */
export function loadMultiboot(
  memory: LoaderMemory,
  boot: MultibootBoot,
): StartState {
  const ram = new GuestRam(memory);
  const reader = new FileReader(boot.kernel, "a Multiboot kernel");
  const at = findMultiboot(boot.kernel);
  if (at === undefined) {
    throw reader.error(
      `expected a header with 0x1badb002 in the first ${SEARCH} bytes`,
    );
  }
  const flags = reader.u32(at + 4, "the Multiboot header");
  const unknown = flags & REQUIRED & ~UNDERSTOOD;
  if (unknown !== 0) {
    throw reader.error(`it requires features 0x${unknown.toString(16)}`);
  }
  const addresses = (flags & HAS_ADDRESSES) === 0
    ? undefined
    : addressesOf(reader, at);
  const entry = placeImage(ram, reader, addresses);
  const modules = placeModules(ram, boot);
  const commandLine = boot.commandLine ?? "";
  ram.put(
    "the Multiboot information",
    BOOT_AREA.INFORMATION,
    information(ram, { modules, commandLine }),
  );
  return start32(ram, entry, { RAX: BOOTED, RBX: BOOT_AREA.INFORMATION });
}
