// Limits of instructions are kept whatever regions do: what they execute is counted on
// every way through them and out of them.

import { assert, assertEquals } from "@std/assert";
import { TestMachine } from "../testing.ts";
import { FORCED_REGIONS, type RegionOptions } from "./limits.ts";

const CODE = 0x8000;
const LIMITS = [2000, 3001, 5002, 7003, 10_004, 45_005];
const NAMES = ["RAX", "RBX", "RCX", "RDX", "RSP", "RIP", "RFLAGS"] as const;

/** Each goes on for ever; EBP is `CODE`. */
const PROGRAMS: Readonly<Record<string, string>> = {
  // L: inc eax; jmp L
  "a loop": "40 ebfd",
  // L: inc eax; test al, 3; jnz M; add ebx, eax; nop; M: inc edx; jmp L
  "paths that join": "40 a803 7503 01c3 90 42 ebf5",
  // L: mov ecx, 5; M: inc eax; nop; loop M; inc edx; jmp L
  "a loop in a loop": "b905000000 40 90 e2fc 42 ebf4",
  // L: call F; inc edx; jmp L; F: inc eax; test al, 1; jz R; inc ebx; R: ret
  "a function": "e803000000 42 ebf8 40 a801 7401 43 c3",
  // L: inc eax; test al, 7; jz M; jmp L; M: inc edx; jmp ebp
  "a computed jump": "40 a807 7402 ebf9 42 ffe5",
  // L: inc eax; push eax; sidt [ebp + 100h]; pop ebx; inc edx; jmp L
  "what is left to handlers": "40 50 0f018d00010000 5b 42 ebf3",
  // L: inc eax; nop; jmp M; M: sidt [ebp + 100h]; inc edx; jmp L
  "what is left to handlers after a block": "40 90 eb00 0f018d00010000 42 ebf2",
  // L: inc eax; test al, 3; jnz L; str ebx; inc edx; jmp L
  "a way out in the middle": "40 a803 75fb 0f01e3 42 ebf5",
  // L: inc eax; add [ebp + 80h], eax; mov [ebp + 200h], dl; inc edx; jmp L
  "writes beside the code": "40 018580000000 889500020000 42 ebf0",
};

function stateAfter(
  compile: false | RegionOptions,
  program: string,
  limit: number,
): readonly bigint[] {
  const machine = new TestMachine({ compile });
  machine.enter("protected32");
  machine.poke(CODE, program);
  machine.set({ RIP: CODE, RSP: 0x7000, RBP: CODE });
  machine.set({ RAX: 0, RBX: 0, RCX: 0, RDX: 0 });
  machine.run(limit);
  const { regions } = machine.cpu.statistics;
  assert(compile === false || regions!.regions > 0);
  return NAMES.map((name) => machine.get(name));
}

const KINDS: readonly RegionOptions[] = [
  FORCED_REGIONS,
  { ...FORCED_REGIONS, threshold: 20 },
  { ...FORCED_REGIONS, threshold: 20, inPlace: true },
];

for (const [name, program] of Object.entries(PROGRAMS)) {
  Deno.test(`regions keep a limit of instructions: ${name}`, () => {
    for (const limit of LIMITS) {
      const expected = stateAfter(false, program, limit);
      for (const kind of KINDS) {
        assertEquals(stateAfter(kind, program, limit), expected, `${limit}`);
      }
    }
  });
}
