// What a region knows and has put off: none of it outlives the place that it holds for,
// and all of it is made on the ways out.

import { assertEquals } from "@std/assert";
import { VECTOR } from "../runtime/traps.ts";
import { PageTables, TestMachine } from "../testing.ts";
import { FORCED_REGIONS, type RegionOptions } from "./limits.ts";

const CODE = 0x8000;
const DATA = 0x10_0000;
const UD2 = "0f0b";
const ROUNDS = 16;
const NAMES = ["RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RFLAGS"] as const;

/** 64-bit code of so many rounds, which R8 counts. RBP is the data's address. */
const PROGRAMS: Readonly<Record<string, string>> = {
  // mov ecx, 5; jmp D; D: sub rcx, r8; test r8b, 1; jz J; inc edx; J: mov esi, ecx;
  // add rbx, rsi
  "how large a register is":
    "b905000000 eb00 4c29c1 41f6c001 7402 ffc2 89ce 4801f3",
  // add rax, rax; sidt [rbp]; adc rbx, r8
  "flags that a handler leaves alone": "4801c0 0f014d00 4c11c3",
  // add rax, rax; lea rsi, [rip + 2]; jmp rsi; adc rbx, r8
  "flags at a computed jump": "4801c0 488d3502000000 ffe6 4c11c3",
  // mov ecx, 20000h; mov edi, DATA; add rax, rax; rep stosb; adc rbx, r8
  "flags at an instruction that is interrupted":
    "b900000200 bf00001000 4801c0 f3aa 4c11c3",
};

function outcome(compile: false | RegionOptions, body: string) {
  const machine = new TestMachine({ compile });
  const tables = new PageTables(machine, "long");
  tables.map(0, 0, 7, 2 << 20);
  machine.enter("long", { tables });
  // dec r8; jnz
  const program = `${body} 49ffc8 75`;
  const back = 256 - program.replaceAll(" ", "").length / 2 - 1;
  machine.poke(CODE, program + back.toString(16) + UD2);
  machine.set({
    RIP: CODE,
    RBP: DATA,
    R8: ROUNDS,
    RAX: 0x9e37_79b9_7f4a_7c15n,
  });
  machine.set({ RBX: 0, RCX: 0, RDX: 0, RSI: 0, RDI: 0 });
  assertEquals(machine.runToException(10_000_000).vector, VECTOR.UD);
  const made = machine.cpu.statistics.regions?.regions ?? 0;
  assertEquals(made > 0, compile !== false);
  return NAMES.map((name) => machine.get(name));
}

const KINDS: readonly RegionOptions[] = [
  FORCED_REGIONS,
  { ...FORCED_REGIONS, threshold: 4 },
  { ...FORCED_REGIONS, threshold: 4, inPlace: true },
];

for (const [what, body] of Object.entries(PROGRAMS)) {
  Deno.test(`regions hold only where it is so: ${what}`, () => {
    const expected = outcome(false, body);
    for (const kind of KINDS) assertEquals(outcome(kind, body), expected);
  });
}
