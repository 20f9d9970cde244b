// SERIALIZE and CPUID: what other threads want is seen behind them, and where they want
// nothing the guest runs on.

import { assert, assertEquals } from "@std/assert";
import { TestMachine } from "../testing.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const COUNT = 0x9000;
/** inc byte [COUNT] */
const INC = "fe0500900000";
const TURNS = 100;
/** dec esi; jnz to the first; ud2 */
const END = (bytes: number) =>
  `ffce 75${(0x100 - bytes - 4).toString(16)} 0f0b`;
const SERIALIZE = "0f01e8";
const CPUID = "0fa2";
/** Those that serialize and need no operand that is prepared. */
const SERIALIZING = {
  SERIALIZE,
  INVD: "0f08",
  WBINVD: "0f09",
  // lgdt, lidt [a000h]; lldt [a010h]; invlpg [a000h]
  LGDT: "0f011500a00000",
  LIDT: "0f011d00a00000",
  LLDT: "0f001510a00000",
  INVLPG: "0f013d00a00000",
};

interface Polled {
  readonly machine: TestMachine;
  /** what the program has counted at each look for what others want */
  readonly looks: number[];
}

// Writes to ports have another thread want something.
function polled(program: string, onCpuid?: () => void): Polled {
  const looks: number[] = [];
  const machine: TestMachine = new TestMachine({
    poll: () => looks.push(machine.memory.bytes[COUNT]!),
    bus: {
      writePort: () => {
        machine.cpu.attend();
        return true;
      },
    },
    ...onCpuid === undefined ? {} : { countCpuid: onCpuid },
  });
  machine.enter("protected32");
  machine.poke(CODE, program);
  machine.set({ RIP: CODE, RSI: TURNS });
  return { machine, looks };
}

Deno.test("SERIALIZE and CPUID go on where nothing waits", () => {
  const { machine, looks } = polled(`${SERIALIZE}${CPUID}${END(5)}`);
  assertEquals(machine.runToException().vector, VECTOR.UD);
  assertEquals(machine.get("RSI"), 0n);
  assert(looks.length < 10, `${looks.length} looks`);
});

for (const [name, code] of Object.entries(SERIALIZING)) {
  Deno.test(`${name} lets what others want come before the next instruction`, () => {
    // out 80h, al; the instruction; inc; ...
    const bytes = 2 + code.length / 2 + 6;
    const { machine, looks } = polled(`e680 ${code} ${INC} ${END(bytes)}`);
    machine.runToException();
    const seen = Array.from({ length: TURNS }, (_, n) => n);
    assertEquals(looks.slice(1), seen);
  });
}

Deno.test("CPUID lets what others want come before the next instruction", () => {
  const { machine, looks } = polled(
    `${CPUID} ${INC} ${END(8)}`,
    () => machine.cpu.attend(),
  );
  machine.runToException();
  const seen = Array.from({ length: TURNS }, (_, n) => n);
  assertEquals(looks.slice(1), seen);
});
