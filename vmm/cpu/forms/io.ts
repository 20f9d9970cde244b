// IN and OUT (Intel SDM vol. 1, 19). INS and OUTS are string instructions.

import { type Emitter, REG, widthOf } from "../emitter.ts";
import type { OpSize } from "../flags.ts";
import { type Form, form } from "../form.ts";
import { type I32, i32 } from "../wasm/mod.ts";

const ACCUMULATORS = [["AL", 8], ["AX", 16], ["EAX", 32]] as const;

function checkedPort(x: Emitter, port: "imm8" | "DX", size: OpSize): I32 {
  const number = port === "DX" ? x.gpr(REG.RDX, 16) : x.imm(8);
  const kept = x.let(number.toI32());
  x.call("checkPort", kept, i32(widthOf(size)), x.site());
  return kept;
}

function input(x: Emitter, port: "imm8" | "DX", size: OpSize): void {
  const number = checkedPort(x, port, size);
  const [value] = x.call("portIn", number, i32(widthOf(size)), x.site());
  x.setGpr(REG.RAX, value, size);
}

function output(x: Emitter, port: "imm8" | "DX", size: OpSize): void {
  const number = checkedPort(x, port, size);
  const value = x.gpr(REG.RAX, size);
  x.call("portOut", number, i32(widthOf(size)), value, x.site());
}

/** The forms of this group. */
export const IO_FORMS: readonly Form[] = (["imm8", "DX"] as const).flatMap(
  (port) =>
    ACCUMULATORS.flatMap(([accumulator, size]) => [
      form(`In_${accumulator}_${port}`, (x) => input(x, port, size)),
      form(`Out_${port}_${accumulator}`, (x) => output(x, port, size)),
    ]),
);
