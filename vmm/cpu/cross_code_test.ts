// Code that another processor's thread changes, where it matters at what moment: two
// processors with views of one memory, as in threads of their own, which a test runs by
// turns. `tests/cpu/litmus/` does the same in real threads.

import { assertEquals } from "@std/assert";
import { GuestMemory } from "./guest_memory.ts";
import { createSharedCode, SharedCode } from "./shared_code.ts";
import { AT, SystemMachine } from "./system_testing.ts";
import { TestMachine, testTiers } from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";

/** The last page that is mapped. */
const PAGE = AT.UNMAPPED - 4096;
/** mov eax, imm32; ud2 */
const FUNCTION = PAGE + 0x100;

interface Pair {
  readonly first: SystemMachine;
  /** Runs the function on the second processor: what it left in EAX. */
  readonly answer: () => number;
}

// The first writes to a port where the second is to run.
function pair(onPort: () => void): Pair {
  const bus = { writePort: () => (onPort(), true) };
  const first = new SystemMachine({ bus });
  const second = new TestMachine({
    memory: new GuestMemory(first.memory.handle),
    cpuid: { vcpu: 1 },
  });
  const buffers = createSharedCode(first.memory.common);
  const [, code] = [first, second].map(({ memory }, thread) => {
    const shared = new SharedCode(buffers, thread, {
      count: 2,
      isRunning: () => false,
      kick: () => {},
      whileParked: (wait) => wait(),
    });
    memory.shareCode(shared);
    return shared;
  });
  second.enter("protected32");
  const answer = () => {
    code!.drain();
    second.set({ RIP: FUNCTION });
    assertEquals(second.runToException().vector, VECTOR.UD);
    return Number(second.get("RAX"));
  };
  return { first, answer };
}

testTiers(
  "a page of which nothing could be decoded is written by its holder",
  () => {
    const seen: number[] = [];
    const { first, answer } = pair(() => seen.push(answer()));
    // mov byte [rbx], 1; jmp rbp: the instruction there goes on in the page that is not
    first.start("long");
    first.poke(AT.CODE, "c60301 ffe5");
    first.poke(AT.HANDLERS + 16 * VECTOR.PF, "e680 c60302 e680 f4");
    first.poke(FUNCTION, "b800000000 0f0b");
    first.poke(AT.UNMAPPED - 2, "b800");
    first.set({ RBX: FUNCTION + 1, RBP: AT.UNMAPPED - 2 });
    first.runToHalt();
    assertEquals(seen, [1, 2]);
  },
);
