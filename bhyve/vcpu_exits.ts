// What a vCPU's thread does about each exit of its processor, as bhyve's vmexit handlers
// do (bhyve-options.md section 10 has their messages).

import {
  EXIT_CODE,
  type InoutExit,
  type MmioExit,
  type RdmsrExit,
  SUSPEND,
  type VmEntry,
  type VmExit,
  type WrmsrExit,
} from "../vmm/cpu/exits.ts";
import type { Log } from "../vmm/device.ts";
import { type Counters, STAT } from "../vmm/statistics.ts";
import type { Board } from "./board.ts";
import { MachineError } from "./machine_error.ts";
import type { MachineSettings } from "./machine_settings.ts";

/** What exits are handled with. */
export interface ExitParts {
  /** number of the vCPU */
  readonly id: number;
  readonly settings: MachineSettings;
  readonly board: Board;
  readonly counters: Counters;
  readonly log: Log;
  /** An answer that a device in another thread gave to the access that exited. */
  takeAnswer?(): VmEntry | undefined;
}

/** Exits after which the processor goes on without an answer, and what counts them. */
const PLAIN: ReadonlyMap<number, number> = new Map([
  [EXIT_CODE.HLT, STAT.HLT],
  [EXIT_CODE.PAUSE, STAT.PAUSE],
  [EXIT_CODE.REQIDLE, STAT.REQIDLE],
  [EXIT_CODE.MTRAP, STAT.MTRAP],
]);

/** The exits of one vCPU. */
export class VcpuExits {
  readonly #parts: ExitParts;

  constructor(parts: ExitParts) {
    this.#parts = parts;
  }

  /** Handles an exit: the answer to it, if it has one. @throws {MachineError} */
  handle(exit: VmExit): VmEntry | undefined {
    const { counters, board } = this.#parts;
    counters.add(STAT.EXITS);
    const plain = PLAIN.get(exit.code);
    if (plain !== undefined) {
      counters.add(plain);
      return undefined;
    }
    switch (exit.code) {
      case EXIT_CODE.SUSPENDED:
        board.suspendOnce(exit.how);
        return undefined;
      case EXIT_CODE.RDMSR:
      case EXIT_CODE.WRMSR:
        return this.#unknownMsr(exit);
      case EXIT_CODE.INOUT:
      case EXIT_CODE.INST_EMUL:
        return this.#unclaimed(exit);
      default:
        throw new MachineError(
          `vm_loop: unexpected exitcode 0x${exit.code.toString(16)}`,
        );
    }
  }

  #unknownMsr(exit: RdmsrExit | WrmsrExit): VmEntry {
    const { settings, log, id } = this.#parts;
    if (settings.strictMsr || settings.verboseMsr) {
      log.warn(`${msrAccess(exit)} on vcpu ${id}`);
    }
    return settings.strictMsr ? { fault: true } : { value: 0n };
  }

  // An access that no device claims ends the machine, unless it was answered already.
  #unclaimed(exit: InoutExit | MmioExit): VmEntry | undefined {
    const { board } = this.#parts;
    const answer = this.#parts.takeAnswer?.();
    if (answer !== undefined) return answer;
    // The devices' thread does not answer any more.
    if (board.how !== SUSPEND.NONE) return undefined;
    throw exit.code === EXIT_CODE.INOUT
      ? MachineError.port(exit)
      : MachineError.memory(exit);
  }
}

function msrAccess(exit: RdmsrExit | WrmsrExit): string {
  const register = `register 0x${exit.msr.toString(16)}`;
  return exit.code === EXIT_CODE.RDMSR
    ? `rdmsr to ${register}`
    : `wrmsr to ${register}(0x${exit.value.toString(16)})`;
}
