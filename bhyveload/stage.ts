// Everything that a command line asks for, read and laid out for a machine's memory,
// before the machine is touched: whatever is wrong shows here and changes nothing.

import { LoaderError, type StartState } from "../vmm/loader/mod.ts";
import {
  type MemoryLayout,
  StagedMemory,
} from "../vmm/loader/staged_memory.ts";
import { VM_LOWMEM_LIMIT } from "../vmm/vmmapi.ts";
import { kindName, kindOf, loadKernel } from "./kernel.ts";
import { refusal } from "./named_file.ts";
import {
  BUILT_IN_ENVIRONMENT,
  type KernelCommand,
  type LoadCommand,
} from "./options.ts";
import { mebibytes, type ReadOptions, readWhole } from "./read_file.ts";
import { loadSystem, openSystem, type Say } from "./system.ts";

/** What is to become of a machine. */
export interface Staged {
  readonly memory: StagedMemory;
  /** of the boot vCPU */
  readonly state: StartState;
}

const EX_USAGE = 64;

function layoutOf(bytes: number): MemoryLayout {
  const lowmem = Math.min(bytes, VM_LOWMEM_LIMIT);
  return { lowmem, highmem: bytes - lowmem };
}

/** How a staging speaks. */
export interface Voice {
  /** about what is loaded */
  readonly say: Say;
  /** about how far it is, where that takes long */
  readonly progress: Say;
}

function stageKernel(
  command: LoadCommand,
  { file, initrd, append }: KernelCommand,
  { say, progress }: Voice,
): Staged {
  const memory = new StagedMemory(layoutOf(command.memory));
  const read = (path: string, expected: string) => {
    const mostBytes = memory.lowmem;
    const options: ReadOptions = { expected, mostBytes, progress };
    const found = readWhole(path, options);
    return found;
  };
  const kernel = read(file, "a kernel");
  const kind = kindOf(kernel);
  const hasVariables = command.environment.length > BUILT_IN_ENVIRONMENT.length;
  if (hasVariables && kind !== "freebsd") {
    throw refusal(
      EX_USAGE,
      `-e sets variables of FreeBSD kernels, ${file} is a ${kindName(kind)}`,
    );
  }
  say(`Loading ${kindName(kind)} ${file} (${mebibytes(kernel.bytes.length)})`);
  const disk = initrd === undefined ? undefined : read(initrd, "a RAM disk");
  if (disk !== undefined) {
    say(`Loading ${disk.name} (${mebibytes(disk.bytes.length)})`);
  }
  const state = loadKernel(memory, kind, {
    kernel,
    ...(disk === undefined ? {} : { initrd: disk }),
    ...(append === undefined ? {} : { commandLine: append }),
    environment: command.environment.toReversed(),
  });
  return { memory, state };
}

function stageSystem(command: LoadCommand, { say }: Voice): Staged {
  const memory = new StagedMemory(layoutOf(command.memory));
  const limit = { mostBytes: memory.lowmem };
  const system = openSystem(command, limit);
  try {
    const { environment } = command;
    const state = loadSystem(memory, system, environment, limit, say);
    return { memory, state };
  } finally {
    system.close();
  }
}

/**
 * Reads and lays out what a command line asks for.
 *
 * @throws {LoadRefusal} for a file that cannot be opened
 * @throws {LoaderError} for one that cannot be loaded
 */
export function stage(command: LoadCommand, voice: Voice): Staged {
  const { kernel, loader, disks, hostBase } = command;
  if (loader !== undefined) {
    throw new LoaderError(
      `Cannot run the loader ${loader}: a shared object for FreeBSD cannot run here; leave out -l to load FreeBSD from -d or -h, or give the kernel with --kernel`,
    );
  }
  if (kernel !== undefined) return stageKernel(command, kernel, voice);
  if (disks.length > 0 || hostBase !== undefined) {
    return stageSystem(command, voice);
  }
  throw refusal(
    EX_USAGE,
    "nothing to load: expected -d or -h with a FreeBSD system, or --kernel",
  );
}
