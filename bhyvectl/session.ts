// What an action of bhyvectl(8) has at hand.

import type { VcpuHandle, VmContext } from "../vmm/vmmapi.ts";
import type { CtlAction, CtlCommand } from "./options.ts";

/** An open machine, the command line, and where lines go. */
export interface Session {
  readonly ctx: VmContext;
  /** the vCPU of --cpu, whether there is such a one or not */
  readonly vcpu: VcpuHandle;
  readonly command: CtlCommand;
  /** Prints a line to standard output. */
  print(line: string): void;
}

/** Does what an option asks for. @throws {VmmError} */
export type Act = (session: Session, action: CtlAction) => Promise<void>;
