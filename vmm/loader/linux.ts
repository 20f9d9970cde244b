// Linux kernels: bzImage and vmlinux, by "The Linux/x86 Boot Protocol" 2.15: entered
// at the 64-bit or 32-bit entry point with a zero page. No EFI handover, no kernels
// before protocol 2.03 or loaded below 1 MiB.

import { PLATFORM } from "../firmware/description.ts";
import { ELF_MACHINE, loadSegments, parseElf, physicalEntry } from "./elf.ts";
import { FileReader, LoaderError, type LoaderFile } from "./file.ts";
import { GuestRam, type LoaderMemory, roundUp } from "./guest_ram.ts";
import { BOOT_AREA, start32, start64, type StartState } from "./start.ts";
import { commandLineBytes } from "./text.ts";
import { FIELD, SETUP_HEADER, zeroPage } from "./zero_page.ts";

/** What is booted. */
export interface LinuxBoot {
  readonly kernel: LoaderFile;
  /** initial RAM disk */
  readonly initrd?: LoaderFile;
  /** the kernel's command line */
  readonly commandLine?: string;
}

const SECTOR = 512;
const BOOT_FLAG = 0xaa55;
const HEADER_MAGIC = 0x5372_6448; // "HdrS"
const LEAST_VERSION = 0x203;
const LOADED_HIGH = 1;
const HAS_64_BIT_ENTRY = 1;
/** The 64-bit entry point lies there in the protected-mode kernel. */
const ENTRY_64 = 0x200;
const DEFAULT_ADDRESS = 0x10_0000;
/** Where the RAM disk of a kernel without a header ends at most. */
const OLD_INITRD_LIMIT = 0x3800_0000;
const OLD_COMMAND_LINE_MAX = 255;

/** Whether a file has the boot protocol's header. */
export function isBzImage({ bytes }: LoaderFile): boolean {
  const text = String.fromCharCode(...bytes.subarray(0x202, 0x206));
  return text === "HdrS";
}

interface BzImage {
  /** the setup header's bytes, for the zero page */
  readonly header: Uint8Array;
  /** the protected-mode kernel */
  readonly payload: Uint8Array;
  readonly is64Bit: boolean;
  /** bytes that the kernel needs from its address on, before it knows the map */
  readonly span: number;
  /** addresses to try, best first */
  readonly addresses: readonly number[];
  readonly initrdLimit: number;
  readonly commandLineMax: number;
}

function checkHeader(reader: FileReader): number {
  if (reader.u16(FIELD.BOOT_FLAG, "the boot sector") !== BOOT_FLAG) {
    throw reader.error("expected 0xaa55 at the end of its first sector");
  }
  if (reader.u32(FIELD.MAGIC, "the setup header") !== HEADER_MAGIC) {
    throw reader.error('expected "HdrS" at 0x202');
  }
  const version = reader.u16(FIELD.VERSION, "the setup header");
  if (version < LEAST_VERSION) {
    throw reader.error(
      `its boot protocol is ${version >> 8}.${
        version & 0xff
      }, expected 2.03 or newer`,
    );
  }
  if ((reader.u8(FIELD.LOAD_FLAGS) & LOADED_HIGH) === 0) {
    throw reader.error("it is a zImage, expected a bzImage");
  }
  return version;
}

function payloadOf(reader: FileReader, version: number): Uint8Array {
  // 0 stands for 4 in old kernels
  const sectors = reader.u8(FIELD.SETUP_SECTORS) || 4;
  const start = (sectors + 1) * SECTOR;
  const available = reader.length - start;
  const units = version >= 0x204
    ? reader.u32(FIELD.SYSTEM_SIZE)
    : reader.u16(FIELD.SYSTEM_SIZE);
  // a size in units of 16 bytes, the last of which need not be whole
  if (available <= 0 || units === 0 || available <= 16 * (units - 1)) {
    throw reader.error(
      `the protected-mode kernel is truncated: expected ${
        16 * units
      } bytes at 0x${start.toString(16)}, the file has ${reader.length}`,
    );
  }
  return reader.slice(start, available, "the protected-mode kernel");
}

function addressesOf(reader: FileReader, version: number): number[] {
  const fixed = reader.u32(FIELD.CODE32_START, "the setup header");
  const isRelocatable = version >= 0x205 && reader.u8(FIELD.RELOCATABLE) !== 0;
  if (!isRelocatable) return [fixed];
  const alignment = reader.u32(FIELD.ALIGNMENT, "the setup header");
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0) {
    throw reader.error(
      `its alignment is 0x${alignment.toString(16)}, expected a power of two`,
    );
  }
  const preferred = version >= 0x20a
    ? Number(reader.u64(FIELD.PREFERRED_ADDRESS, "the setup header"))
    : fixed;
  return [preferred, roundUp(DEFAULT_ADDRESS, alignment)];
}

function readBzImage(file: LoaderFile): BzImage {
  const reader = new FileReader(file, "Linux bzImage");
  const version = checkHeader(reader);
  const end = FIELD.MAGIC + reader.u8(FIELD.JUMP + 1);
  const header = reader.slice(
    SETUP_HEADER,
    Math.min(end, FIELD.END) - SETUP_HEADER,
    "the setup header",
  );
  const payload = payloadOf(reader, version);
  const is64Bit = version >= 0x20c &&
    (reader.u16(FIELD.EXTENDED_FLAGS) & HAS_64_BIT_ENTRY) !== 0;
  const needed = version >= 0x20a ? reader.u32(FIELD.INIT_SIZE) : 0;
  return {
    header,
    payload,
    is64Bit,
    span: Math.max(needed, payload.length),
    addresses: addressesOf(reader, version),
    initrdLimit: reader.u32(FIELD.INITRD_MAX) + 1,
    commandLineMax: version >= 0x206
      ? reader.u32(FIELD.COMMAND_LINE_SIZE)
      : OLD_COMMAND_LINE_MAX,
  };
}

function placeKernel(ram: GuestRam, image: BzImage, name: string): number {
  const { addresses, span, payload } = image;
  const at = addresses.find((address) => ram.isFree(address, span));
  if (at === undefined) {
    throw new LoaderError(
      `Cannot place ${name}: it needs ${span} bytes at one of ${
        addresses.map((a) => `0x${a.toString(16)}`).join(", ")
      }, low memory ends at 0x${ram.lowmem.toString(16)}`,
    );
  }
  ram.take(name, at, span).set(payload);
  return at;
}

interface Common {
  readonly header: Uint8Array;
  readonly initrdLimit: number;
  readonly commandLineMax: number;
}

// Everything but the kernel itself: command line, RAM disk, zero page.
function placeParameters(
  ram: GuestRam,
  boot: LinuxBoot,
  { header, initrdLimit, commandLineMax }: Common,
): void {
  const line = commandLineBytes(
    boot.commandLine ?? "",
    Math.min(commandLineMax, BOOT_AREA.COMMAND_LINE_MAX - 1),
  );
  ram.put("the command line", BOOT_AREA.COMMAND_LINE, line);
  const { initrd } = boot;
  const options = { limit: initrdLimit };
  const ramDisk = initrd === undefined ? undefined : {
    address: ram.putHigh(initrd.name, initrd.bytes, options),
    length: initrd.bytes.length,
  };
  const page = zeroPage({
    header,
    map: ram.map,
    commandLine: BOOT_AREA.COMMAND_LINE,
    rsdp: PLATFORM.ACPI,
    ...(ramDisk === undefined ? {} : { ramDisk }),
  });
  ram.put("the zero page", BOOT_AREA.ZERO_PAGE, page);
}

const INITIAL = { RSI: BOOT_AREA.ZERO_PAGE, RSP: BOOT_AREA.STACK_TOP };

function loadBzImage(ram: GuestRam, boot: LinuxBoot): StartState {
  const image = readBzImage(boot.kernel);
  const address = placeKernel(ram, image, boot.kernel.name);
  placeParameters(ram, boot, image);
  return image.is64Bit
    ? start64(ram, address + ENTRY_64, INITIAL)
    : start32(ram, address, INITIAL);
}

/** A header for kernels that come without one, as their own would be. */
function vmlinuxHeader(): Uint8Array {
  const bytes = new Uint8Array(FIELD.END - SETUP_HEADER);
  const view = new DataView(bytes.buffer);
  view.setUint16(FIELD.BOOT_FLAG - SETUP_HEADER, BOOT_FLAG, true);
  view.setUint32(FIELD.MAGIC - SETUP_HEADER, HEADER_MAGIC, true);
  view.setUint16(FIELD.VERSION - SETUP_HEADER, 0x20f, true);
  view.setUint8(FIELD.LOAD_FLAGS - SETUP_HEADER, LOADED_HIGH);
  return bytes;
}

function loadVmlinux(ram: GuestRam, boot: LinuxBoot): StartState {
  const elf = parseElf(boot.kernel, "Linux vmlinux");
  loadSegments(ram, elf);
  const entry = physicalEntry(elf);
  placeParameters(ram, boot, {
    header: vmlinuxHeader(),
    initrdLimit: OLD_INITRD_LIMIT,
    commandLineMax: 2047,
  });
  return elf.machine === ELF_MACHINE.X86_64
    ? start64(ram, entry, INITIAL)
    : start32(ram, entry, INITIAL);
}

/**
 * Puts a Linux kernel into memory: a bzImage, or an ELF vmlinux.
 *
 * @returns the state in which the boot vCPU starts
 * @throws {LoaderError} for a file that is neither or is damaged, and where
 *   something does not fit
 */
export function loadLinux(memory: LoaderMemory, boot: LinuxBoot): StartState {
  const ram = new GuestRam(memory);
  return isBzImage(boot.kernel) || boot.kernel.bytes[0] !== 0x7f
    ? loadBzImage(ram, boot)
    : loadVmlinux(ram, boot);
}
