// What `bhyvectl --run` prints of the exit that ended the run. Only port accesses have
// fields of their own; exits of a hypervisor's hardware do not exist here.

import { EXIT_CODE, type InoutExit, type VmExit } from "../vmm/cpu/exits.ts";
import { hex } from "./format.ts";

function inoutLines(exit: InoutExit): string[] {
  const flags = `${exit.string ? "STRING " : ""}${exit.rep ? "REP " : ""}`;
  return [
    "\treason\t\tINOUT",
    `\tdirection\t${exit.in ? "IN" : "OUT"}`,
    `\tbytes\t\t${exit.bytes}`,
    `\tflags\t\t${flags}`,
    `\tport\t\t${hex(BigInt(exit.port), 4)}`,
    `\teax\t\t${hex(BigInt(exit.value >>> 0), 8)}`,
  ];
}

/** The lines for an exit of a vCPU. */
export function exitLines(exit: VmExit, vcpuid: number): string[] {
  return [
    `vm exit[${vcpuid}]`,
    `\trip\t\t${hex(exit.rip, 16)}`,
    `\tinst_length\t${exit.length}`,
    ...(exit.code === EXIT_CODE.INOUT
      ? inoutLines(exit)
      : [`*** unknown vm run exitcode ${exit.code}`]),
  ];
}
