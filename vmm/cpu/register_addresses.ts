// Where each register of iced-x86 lies in memory 0.

import { Register } from "./iced/enumerations.ts";
import {
  CR,
  DR,
  ES,
  FPR,
  gprAddress,
  RIP_BASE,
  SEGMENT_STRIDE,
  vectorAddress,
  ZERO,
} from "./state.ts";

/** Address in memory 0 of each register; x87 registers stand for their index. */
const REGISTER_ADDRESS = registerAddresses();

function registerAddresses(): Int32Array {
  const table = new Int32Array(256).fill(ZERO);
  const put = (first: Register, count: number, at: (n: number) => number) => {
    for (let n = 0; n < count; n++) table[first + n] = at(n);
  };
  put(Register.AL, 4, gprAddress);
  put(Register.AH, 4, (n) => gprAddress(n) + 1);
  put(Register.SPL, 12, (n) => gprAddress(n + 4));
  for (const first of [Register.AX, Register.EAX, Register.RAX]) {
    put(first, 16, gprAddress);
  }
  put(Register.ES, 6, (n) => ES + n * SEGMENT_STRIDE);
  put(Register.XMM0, 16, vectorAddress);
  put(Register.YMM0, 16, vectorAddress);
  put(Register.MM0, 8, (n) => FPR + 16 * n);
  put(Register.ST0, 8, (n) => n);
  put(Register.CR0, 16, (n) => CR + 8 * Math.min(n, 8));
  put(Register.DR0, 8, (n) => DR + 8 * n);
  table[Register.EIP] = RIP_BASE;
  table[Register.RIP] = RIP_BASE;
  return table;
}

/** Address in memory 0 of a register; `ZERO` for none. */
export function registerAddress(register: Register): number {
  return REGISTER_ADDRESS[register]!;
}
