// A kernel that is one file: what kind it is, and the loader for that kind.

import { ELF_TYPE, isElf, parseElf, SEGMENT_TYPE } from "../vmm/loader/elf.ts";
import {
  interpreterOf,
  isFreeBsdKernel,
} from "../vmm/loader/freebsd_kernel.ts";
import {
  type KernelKind,
  kernelKind,
  LoaderError,
  type LoaderFile,
  type LoaderMemory,
  loadFreeBsd,
  loadLinux,
  loadMultiboot,
  loadMultiboot2,
  loadPvh,
  type StartState,
} from "../vmm/loader/mod.ts";
import { fileKind } from "./file_kind.ts";

/** A kernel and what goes with it. */
export interface KernelBoot {
  readonly kernel: LoaderFile;
  readonly initrd?: LoaderFile;
  readonly commandLine?: string;
  /** `name=value` for FreeBSD kernels, stronger ones first */
  readonly environment: readonly string[];
}

type Loader = (memory: LoaderMemory, boot: KernelBoot) => StartState;

function modules({ initrd }: KernelBoot): LoaderFile[] {
  return initrd === undefined ? [] : [initrd];
}

const multiboot: (load: typeof loadMultiboot) => Loader =
  (load) => (memory, boot) =>
    load(memory, { ...boot, modules: modules(boot).map((file) => ({ file })) });

const KERNEL_PATH = "/boot/kernel/kernel";
const INITRD_PATH = "/boot/mfsroot";

// As loader(8)'s `boot`: variables, and flags such as -s for the kernel.
function freeBsdEnvironment(boot: KernelBoot): string[] {
  const words = (boot.commandLine ?? "").split(/\s+/)
    .filter((word) => word !== "");
  const isVariable = (word: string) =>
    !word.startsWith("-") && word.includes("=");
  const options = words.filter((word) => !isVariable(word)).join(" ");
  const disk = boot.initrd === undefined ? [] : [
    ...["initrd_load=YES", `initrd_name=${INITRD_PATH}`],
    ...["initrd_type=mfs_root", "vfs.root.mountfrom=ufs:/dev/md0"],
  ];
  return [
    `kernel=${KERNEL_PATH}`,
    ...words.filter(isVariable),
    ...boot.environment,
    ...disk,
    ...(options === "" ? [] : [`kernel_options=${options}`]),
  ];
}

// A system of nothing but the kernel and its RAM disk.
const freeBsd: Loader = (memory, boot) => {
  const files = new Map([
    [KERNEL_PATH, boot.kernel],
    ...modules(boot).map((file) => [INITRD_PATH, file] as const),
  ]);
  return loadFreeBsd(memory, {
    fs: { read: (path) => files.get(path)?.bytes, list: () => undefined },
    environment: freeBsdEnvironment(boot),
  });
};

/** A kind of kernel. */
export type BootKind = KernelKind | "freebsd";

/** What loads each kind, and its name in messages. */
const LOADERS: Readonly<Record<BootKind, readonly [name: string, Loader]>> = {
  bzimage: ["Linux bzImage", loadLinux],
  elf: ["Linux vmlinux", loadLinux],
  multiboot: ["Multiboot kernel", multiboot(loadMultiboot)],
  multiboot2: ["Multiboot 2 kernel", multiboot(loadMultiboot2)],
  pvh: [
    "PVH kernel",
    (memory, boot) => loadPvh(memory, { ...boot, modules: modules(boot) }),
  ],
  freebsd: ["FreeBSD kernel", freeBsd],
};

const EXPECTED =
  "expected a Linux bzImage or vmlinux, a Multiboot or PVH kernel, or a FreeBSD/amd64 kernel";

function refuse(file: LoaderFile, what: string): LoaderError {
  return new LoaderError(
    `Cannot load ${file.name}: it is ${what}, ${EXPECTED}`,
  );
}

// A kernel without any mark that names its own physical addresses is a vmlinux; a
// program's are its virtual ones.
function requireVmlinux(file: LoaderFile): void {
  const interpreter = interpreterOf(file);
  if (interpreter !== undefined) {
    throw refuse(file, `a program that ${interpreter} runs`);
  }
  const loadable = parseElf(file).segments
    .filter(({ type }) => type === SEGMENT_TYPE.LOAD);
  if (loadable.every(({ vaddr, paddr }) => vaddr === paddr)) {
    throw refuse(file, "an ELF program");
  }
}

/**
 * What kind of kernel a file is.
 *
 * @throws {LoaderError} for one that is none, with what it is instead
 */
export function kindOf(file: LoaderFile): BootKind {
  if (isFreeBsdKernel(file)) return "freebsd";
  const kind = kernelKind(file);
  if (kind === "elf") requireVmlinux(file);
  if (kind !== undefined) return kind;
  if (!isElf(file)) throw refuse(file, fileKind(file));
  const isObject = parseElf(file).type === ELF_TYPE.REL;
  throw refuse(file, isObject ? "an ELF object file" : "an ELF file");
}

/** The name of a kind, such as `Linux bzImage`. */
export function kindName(kind: BootKind): string {
  return LOADERS[kind][0];
}

/**
 * Puts a kernel and what goes with it into memory.
 *
 * @returns the state in which the boot vCPU starts
 * @throws {LoaderError} where it is damaged or does not fit
 */
export function loadKernel(
  memory: LoaderMemory,
  kind: BootKind,
  boot: KernelBoot,
): StartState {
  return LOADERS[kind][1](memory, boot);
}
