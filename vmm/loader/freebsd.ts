// FreeBSD/amd64 without firmware or a loader of its own: kernel, modules, metadata
// and start state as loader(8) and bhyveload(8) leave them (bhyve's userboot, and
// vm_setup_freebsd_registers(3)). No i386 kernels, ZFS, or interactive menu.

import { REGISTER } from "../cpu/registers.ts";
import { ByteWriter } from "../firmware/bytes.ts";
import { LoaderError, type LoaderFile } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";
import {
  pageBehind,
  placeKernel,
  placeModule,
  placeRaw,
} from "./freebsd_files.ts";
import {
  environmentBlock,
  howto,
  type LoadedFile,
  memoryMap,
  METADATA,
  metadataBlock,
  type MetadataRecord,
  quad,
} from "./freebsd_metadata.ts";
import { GuestRam, type LoaderMemory, roundUp } from "./guest_ram.ts";
import {
  type LoaderVariables,
  type PreloadRequest,
  preloadRequests,
  readLoaderConf,
} from "./loader_conf.ts";
import type { StartState } from "./start.ts";

/** What is booted. */
export interface FreeBsdBoot {
  /** the system's files, with `/boot` in it */
  readonly fs: LoaderFileSystem;
  /** `name=value`, stronger than loader.conf; the first of a name wins */
  readonly environment?: readonly string[];
}

const PAGE = 4096;
const PLACE = {
  STACK: 0x1000,
  PML4: 0x2000,
  PDPT: 0x3000,
  DIRECTORY: 0x4000,
  GDT: 0x5000,
} as const;
/** The start's page tables reach that far. */
const REACH = 2 ** 30;
const GDT_CODE = 0x0020_9800_0000_0000n;
const GDT_DATA = 0x0000_9000_0000_0000n;
const GDT_BYTES = 24;

function variablesOf({ fs, environment = [] }: FreeBsdBoot): LoaderVariables {
  const variables = readLoaderConf(fs);
  for (const text of environment.toReversed()) {
    const equals = text.indexOf("=");
    if (equals <= 0) variables.set(text, "");
    else variables.set(text.slice(0, equals), text.slice(equals + 1));
  }
  return variables;
}

// The root file system is the one in /etc/fstab, unless the settings name one.
function setRoot(fs: LoaderFileSystem, variables: LoaderVariables): void {
  const table = fs.read("/etc/fstab");
  if (table === undefined || variables.has("vfs.root.mountfrom")) return;
  const rows = new TextDecoder().decode(table).split("\n")
    .map((line) => line.replace(/#.*/, "").trim().split(/\s+/));
  const root = rows.find(([, where]) => where === "/");
  if (root === undefined) return;
  const [device, , type, options = "rw"] = root;
  variables.set("vfs.root.mountfrom", `${type}:${device}`);
  variables.set("vfs.root.mountfrom.options", options);
}

function readFirst(
  fs: LoaderFileSystem,
  paths: readonly string[],
  what: string,
): LoaderFile {
  for (const name of paths) {
    const bytes = fs.read(name);
    if (bytes !== undefined) return { name, bytes };
  }
  throw new LoaderError(`Cannot find ${what}: looked for ${paths.join(", ")}`);
}

function listOf(text: string | undefined, otherwise: string): string[] {
  const list = text === undefined || text === "" ? otherwise : text;
  return list.split(/[;,\s]+/).filter((word) => word !== "");
}

function findKernel(
  fs: LoaderFileSystem,
  variables: LoaderVariables,
): LoaderFile {
  const kernel = variables.get("kernel") || "kernel";
  const paths = kernel.startsWith("/")
    ? [kernel]
    : listOf(variables.get("bootfile"), "kernel").flatMap((file) => [
      `/boot/${kernel}/${file}`,
      `/boot/${kernel}`,
    ]);
  return readFirst(fs, paths, "the kernel");
}

function findPreload(
  fs: LoaderFileSystem,
  { name, type }: PreloadRequest,
  directories: readonly string[],
): LoaderFile {
  const file = type === undefined && !name.endsWith(".ko")
    ? `${name}.ko`
    : name;
  const paths = name.startsWith("/")
    ? [...new Set([file, name])]
    : directories.map((directory) => `${directory}/${file}`);
  return readFirst(fs, paths, `${name}, which loader.conf loads`);
}

function placePreload(
  ram: GuestRam,
  file: LoaderFile,
  start: number,
  { type, flags }: PreloadRequest,
): LoadedFile {
  const options = flags === undefined ? {} : { flags };
  return type === undefined
    ? placeModule(ram, file, start, options)
    : placeRaw(ram, file, start, { ...options, type });
}

function placePreloads(
  ram: GuestRam,
  boot: FreeBsdBoot,
  variables: LoaderVariables,
  kernel: LoadedFile,
): LoadedFile[] {
  const directory = kernel.name.slice(0, kernel.name.lastIndexOf("/"));
  const path = listOf(variables.get("module_path"), "/boot/modules");
  const directories = [...new Set([directory, ...path])];
  const files: LoadedFile[] = [];
  for (const request of preloadRequests(variables)) {
    const start = pageBehind(files.at(-1) ?? kernel);
    const file = findPreload(boot.fs, request, directories);
    files.push(placePreload(ram, file, start, request));
  }
  variables.set("kernelname", kernel.name);
  variables.set("module_path", directories.join(";"));
  return files;
}

interface HandOff {
  readonly modulep: number;
  readonly kernend: number;
}

// Environment and metadata behind the last file. The metadata holds its own end,
// whose place does not depend on the value.
function placeHandOff(
  ram: GuestRam,
  files: readonly [LoadedFile, ...LoadedFile[]],
  variables: LoaderVariables,
): HandOff {
  const [kernel, ...others] = files;
  const envp = pageBehind(files.at(-1)!);
  const environment = environmentBlock(variables);
  const modulep = roundUp(envp + environment.length, PAGE);
  const flags = howto(variables, variables.get("kernel_options") ?? "");
  const block = (kernend: number) => {
    const added: MetadataRecord[] = [
      [METADATA.HOWTO, new ByteWriter().u32(flags).finish()],
      [METADATA.ENVP, quad(envp)],
      [METADATA.KERNEND, quad(kernend)],
      [METADATA.MODULEP, quad(modulep)],
      [METADATA.SMAP, memoryMap(ram.memory)],
    ];
    const metadata = [...kernel.metadata, ...added];
    return metadataBlock([{ ...kernel, metadata }, ...others]);
  };
  const kernend = roundUp(modulep + block(0).length, PAGE);
  if (kernend > REACH) {
    throw new LoaderError(
      `Cannot load ${kernel.name}: with its modules it ends at 0x${
        kernend.toString(16)
      }, expected at most 0x40000000`,
    );
  }
  ram.put("the environment", envp, environment);
  ram.put("the metadata", modulep, block(kernend));
  return { modulep, kernend };
}

// Every GiB of addresses shows the first GiB of memory.
function placeTables(ram: GuestRam, { modulep, kernend }: HandOff): void {
  const stack = new ByteWriter().u32(0).u32(modulep).u32(kernend);
  ram.put("the boot stack", PLACE.STACK, stack.finish());
  const entries = (entry: (n: number) => number) => {
    const writer = new ByteWriter();
    for (let n = 0; n < PAGE / 8; n++) writer.u64(entry(n));
    return writer.finish();
  };
  ram.put("the PML4", PLACE.PML4, entries(() => PLACE.PDPT | 3));
  ram.put("the PDPT", PLACE.PDPT, entries(() => PLACE.DIRECTORY | 3));
  const large = entries((n) => n * 2 ** 21 + 0x83);
  ram.put("the page directory", PLACE.DIRECTORY, large);
  const gdt = new ByteWriter().u64(0).u64(GDT_CODE).u64(GDT_DATA);
  ram.put("the GDT", PLACE.GDT, gdt.finish());
}

const DATA_SEGMENTS = [
  ...[REGISTER.DS, REGISTER.ES, REGISTER.FS, REGISTER.GS],
  REGISTER.SS,
] as const;

function startState(entry: bigint): StartState {
  const data = { base: 0n, limit: 0, access: 0x93 };
  return {
    registers: [
      [REGISTER.CR0, 0x8000_0021n],
      [REGISTER.CR3, BigInt(PLACE.PML4)],
      [REGISTER.CR4, 0x20n],
      [REGISTER.EFER, 0x500n],
      [REGISTER.RFLAGS, 2n],
      [REGISTER.CS, 0x08n],
      ...DATA_SEGMENTS.map((register) => [register, 0x10n] as const),
      [REGISTER.TR, 0n],
      [REGISTER.LDTR, 0n],
      [REGISTER.RIP, entry],
      [REGISTER.RSP, BigInt(PLACE.STACK)],
    ],
    descriptors: [
      [REGISTER.CS, { ...data, access: 0x209b }],
      ...DATA_SEGMENTS.map((register) => [register, data] as const),
      [REGISTER.TR, { ...data, access: 0x8b }],
      [REGISTER.LDTR, { ...data, access: 0x1_0000 }],
      [REGISTER.GDTR, {
        base: BigInt(PLACE.GDT),
        limit: GDT_BYTES - 1,
        access: 0,
      }],
    ],
  };
}

/**
 * Puts a FreeBSD kernel and what its loader.conf asks for into memory.
 *
 * @returns the state in which the boot vCPU starts; other registers stay
 * @throws {LoaderError} for a missing or damaged file or a bad line of
 *   loader.conf, and where something does not fit
 */
export function loadFreeBsd(
  memory: LoaderMemory,
  boot: FreeBsdBoot,
): StartState {
  const ram = new GuestRam(memory);
  const variables = variablesOf(boot);
  setRoot(boot.fs, variables);
  const kernel = placeKernel(ram, findKernel(boot.fs, variables));
  const preloads = placePreloads(ram, boot, variables, kernel.file);
  const files: [LoadedFile, ...LoadedFile[]] = [kernel.file, ...preloads];
  placeTables(ram, placeHandOff(ram, files, variables));
  return startState(kernel.entry);
}
