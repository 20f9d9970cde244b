// The PVH entry of ELF kernels (Xen, "x86/HVM direct boot ABI", version 1): 32-bit
// protected mode with a start information structure.

import { ByteWriter } from "../firmware/bytes.ts";
import { PLATFORM } from "../firmware/description.ts";
import { findNote, loadSegments, parseElf } from "./elf.ts";
import type { LoaderFile } from "./file.ts";
import { GuestRam, type LoaderMemory } from "./guest_ram.ts";
import { BOOT_AREA, start32, type StartState } from "./start.ts";
import { commandLineBytes } from "./text.ts";

/** What is booted. */
export interface PvhBoot {
  readonly kernel: LoaderFile;
  /** modules; Linux takes the first one as its initial RAM disk */
  readonly modules?: readonly LoaderFile[];
  /** the kernel's command line */
  readonly commandLine?: string;
}

const NOTE_OWNER = "Xen";
const PHYS32_ENTRY = 18;
const MAGIC = 0x336e_c578;
const HEADER_BYTES = 56;
const MODULE_BYTES = 32;

interface Information {
  readonly modules: readonly { readonly at: number; readonly size: number }[];
  readonly map: GuestRam["map"];
}

// The structure, then the list of modules, then the map.
function information({ modules, map }: Information): Uint8Array {
  const base = BOOT_AREA.INFORMATION;
  const list = base + HEADER_BYTES;
  const mapAt = list + modules.length * MODULE_BYTES;
  const writer = new ByteWriter().u32(MAGIC).u32(1).u32(0)
    .u32(modules.length).u64(modules.length === 0 ? 0 : list)
    .u64(BOOT_AREA.COMMAND_LINE).u64(PLATFORM.ACPI)
    .u64(mapAt).u32(map.length).u32(0);
  for (const { at, size } of modules) writer.u64(at).u64(size).u64(0).u64(0);
  for (const { base, length, type } of map) {
    writer.u64(base).u64(length).u32(type).u32(0);
  }
  return writer.finish();
}

/**
 * Puts an ELF kernel with a PVH entry into memory.
 *
 * @returns the state in which the boot vCPU starts
 * @throws {LoaderError} for a file without this entry or damaged, and where
 *   something does not fit
 */
export function loadPvh(memory: LoaderMemory, boot: PvhBoot): StartState {
  const ram = new GuestRam(memory);
  const elf = parseElf(boot.kernel, "a PVH kernel");
  const note = findNote(elf, NOTE_OWNER, PHYS32_ENTRY);
  if (note === undefined || note.length < 4) {
    throw elf.reader.error(
      "expected a Xen note of type 18 with an entry point",
    );
  }
  const entry = new DataView(note.buffer, note.byteOffset).getUint32(0, true);
  loadSegments(ram, elf);
  const modules = (boot.modules ?? []).map(({ name, bytes }) => ({
    at: ram.putHigh(name, bytes),
    size: bytes.length,
  }));
  const most = BOOT_AREA.COMMAND_LINE_MAX - 1;
  const line = commandLineBytes(boot.commandLine ?? "", most);
  ram.put("the command line", BOOT_AREA.COMMAND_LINE, line);
  ram.put(
    "the start information",
    BOOT_AREA.INFORMATION,
    information({ modules, map: ram.map }),
  );
  return start32(ram, entry, { RBX: BOOT_AREA.INFORMATION });
}
