// A kernel that bhyve loads itself (`loader.kernel`), as bhyveload does.

import { kindOf, loadKernel } from "../bhyveload/kernel.ts";
import { LoadRefusal } from "../bhyveload/named_file.ts";
import { readWhole } from "../bhyveload/read_file.ts";
import {
  applyStart,
  type LoaderFile,
  type StartTarget,
} from "../vmm/loader/mod.ts";
import type { RestingMachine } from "../vmm/root/resting_machine.ts";
import type { LoaderKeys } from "./loader_keys.ts";
import { refuse, STATUS } from "./option_error.ts";

function bootVcpu(machine: RestingMachine): StartTarget {
  return {
    setRegister: (regnum, regval) => {
      machine.ioctl("VM_SET_REGISTER", { cpuid: 0, regnum, regval });
    },
    setDescriptor: (regnum, desc) => {
      machine.ioctl("VM_SET_SEGMENT_DESCRIPTOR", { cpuid: 0, regnum, desc });
    },
  };
}

function readFile(
  key: string,
  path: string,
  expected: string,
  mostBytes: number,
): LoaderFile {
  try {
    return readWhole(path, { expected, mostBytes, progress: () => {} });
  } catch (error) {
    if (!(error instanceof LoadRefusal)) throw error;
    const why = error.message.replace(/^bhyveload: /, "");
    throw refuse(STATUS.ERROR, `${key}=${path}: ${why}`);
  }
}

/**
 * What puts a kernel into a machine, and its boot vCPU where the kernel starts.
 *
 * @returns throws an `OptionError` for files that cannot be read, a `LoaderError` for
 *   those that cannot be loaded
 */
export function kernelLoader(
  { kernel: path, initrd, append }: LoaderKeys,
): (machine: RestingMachine) => void {
  return (machine) => {
    const { ram, memory: { systemBytes } } = machine;
    const kernel = readFile("loader.kernel", path, "a kernel", systemBytes);
    const start = loadKernel(ram, kindOf(kernel), {
      kernel,
      environment: [],
      ...append === undefined ? {} : { commandLine: append },
      ...initrd === undefined ? {} : {
        initrd: readFile("loader.initrd", initrd, "a RAM disk", systemBytes),
      },
    });
    applyStart(bootVcpu(machine), start);
  };
}
