// Runs a locked instruction in a thread of its own, for `locked_test.ts`: on a bus that
// another thread has locked it waits.

import { GuestMemory, type GuestMemoryHandle } from "./guest_memory.ts";
import { PageTables, PTE, TestMachine } from "./testing.ts";

const CODE = 0x8000;
const UD2 = "0f0b";
const CR0_WP = 0x10000n;

/** What is run. */
export interface LockedRun {
  readonly memory: GuestMemoryHandle;
  readonly program: string;
  /** pages: linear and physical address, bits of the entry */
  readonly pages: readonly (readonly [number, number, number])[];
  readonly registers: Parameters<TestMachine["set"]>[0];
}

/** What came of it. */
export interface LockedEnd {
  /** the exit's code */
  readonly code: number;
  /** the exception's vector */
  readonly vector: number | undefined;
  readonly cr2: bigint;
}

function run({ memory, program, pages, registers }: LockedRun): LockedEnd {
  const machine = new TestMachine({ memory: new GuestMemory(memory) });
  const tables = new PageTables(machine, "long");
  tables.map(CODE, CODE, PTE.P | PTE.RW);
  for (const [linear, physical, bits] of pages) {
    tables.map(linear, physical, bits);
  }
  machine.enter("long", { tables });
  machine.poke(CODE, program + UD2);
  machine.set({ ...registers, RIP: CODE, CR0: machine.get("CR0") | CR0_WP });
  const exit = machine.run();
  const vector = "vector" in exit ? exit.vector : undefined;
  return { code: exit.code, vector, cr2: machine.get("CR2") };
}

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<LockedRun>) => void;
  postMessage(message: LockedEnd): void;
};
scope.onmessage = ({ data }) => scope.postMessage(run(data));
