// What a flush of the TLB drops: all that was entered, be it more than the log holds.

import { assertEquals } from "@std/assert";
import { TLB_ENTRIES, TLB_LOG_MAX } from "../state.ts";
import { CR4, PageTables, PTE, TestMachine, testTiers } from "../testing.ts";
import { VECTOR } from "./traps.ts";

const CODE = 0x8000;
const FRAMES = [0x9000, 0xa000] as const;
/** Its entry is the first of an array. */
const CHANGED = 0x4000_0000;
const GLOBAL = 0x4800_1000;
/** Two pages with one entry. */
const PAIR = [0x5000_1000, 0x5000_1000 + 4096 * TLB_ENTRIES] as const;
const ENTRY = 0x6000_2000;
const WRITES = PTE.P | PTE.RW;
/** MOV RAX, CR3; MOV CR3, RAX */
const FLUSH = "0f20d8 0f22d8";

function machineWith(program: string): TestMachine {
  const machine = new TestMachine();
  const tables = new PageTables(machine, "long");
  tables.map(CODE, CODE, WRITES);
  for (const page of PAIR) tables.map(page, FRAMES[0], WRITES);
  tables.map(GLOBAL, FRAMES[0], WRITES | PTE.G);
  const entry = tables.map(CHANGED, FRAMES[0], WRITES);
  tables.map(ENTRY, entry & -4096, WRITES);
  FRAMES.forEach((frame) => machine.poke64(frame, BigInt(frame)));
  machine.enter("long", { tables, cr4: CR4.PGE });
  machine.poke(CODE, program);
  machine.set({ RIP: CODE, RBX: PAIR[0], RSI: PAIR[1], RDI: CHANGED });
  machine.set({ RBP: ENTRY + (entry & 4095), R8: FRAMES[1] | WRITES });
  machine.set({ R9: GLOBAL, RCX: TLB_LOG_MAX });
  return machine;
}

testTiers("a flush drops what was entered when the log was full", () => {
  const machine = machineWith(
    // mov rax, [r9]; a flush that spares the global page
    `498b01 ${FLUSH}` +
      // L: mov rax, [rbx]; mov rax, [rsi]; dec ecx; jnz L
      "488b03 488b06 ffc9 75f6" +
      // mov rdx, [rdi]; mov [rbp], r8; flush; mov r11, [rdi]; ud2
      `488b17 4c894500 ${FLUSH} 4c8b1f 0f0b`,
  );
  assertEquals(machine.runToException(1_000_000).vector, VECTOR.UD);
  const found = (["RDX", "R11"] as const).map((name) => machine.get(name));
  assertEquals(found, FRAMES.map(BigInt));
});
