// Locked instructions: atomic where they are aligned, on a locked bus elsewhere, and
// never with the bus still locked once they were left (Intel SDM vol. 3, 9.1.2). Each
// runs in a thread of its own, to see whether it waits for a bus that this one holds.

import { assertEquals } from "@std/assert";
import type { LockedEnd, LockedRun } from "./_locked_worker.ts";
import { EXIT_CODE } from "./exits.ts";
import { GuestMemory } from "./guest_memory.ts";
import { VECTOR } from "./runtime/traps.ts";
import { BUS_LOCK } from "./shared_code.ts";
import { PTE } from "./testing.ts";

/** Two pages, of which the frames do not adjoin. */
const DATA = 0x10_000;
const FRAMES = [0x20_000, 0x40_000] as const;
/** Maps to nothing. */
const DEVICE = 0x30_000;
const BEYOND = 0x200_0000;
const FLAGS = PTE.P | PTE.RW;
/** lock add [rbx], rcx */
const LOCK_ADD = "f0 48 01 0b";
/** lock cmpxchg16b [rbx] */
const EXCHANGE16 = "f0 48 0fc70b";
const ADDEND = 0x0102_0304_0506_0708n;
const SIZE = 16 << 20;
/** Says how far the program is: 1 before the instruction. */
const MARK = 0x5_0000;
/** mov byte [rsi], 1 */
const SET_MARK = "c60601";
/** How long the instruction is seen to wait. */
const WAIT_MS = 30;

interface Run {
  readonly program?: string;
  readonly at: number;
  readonly second?: number;
  /** what memory holds at first, by address */
  readonly before?: Readonly<Record<number, bigint>>;
}

interface Ended extends LockedEnd {
  readonly view: DataView;
}

function makeMemory(before: Run["before"] = {}): GuestMemory {
  const memory = new GuestMemory(SIZE);
  memory.map({ gpa: 0, length: SIZE, offset: 0, writable: true });
  const view = new DataView(memory.memory.buffer);
  for (const [at, value] of Object.entries(before)) {
    view.setBigUint64(Number(at), BigInt.asUintN(64, value), true);
  }
  return memory;
}

function start(
  worker: Worker,
  memory: GuestMemory,
  run: Run,
): Promise<LockedEnd> {
  const message: LockedRun = {
    memory: memory.handle,
    program: SET_MARK + (run.program ?? LOCK_ADD),
    pages: [
      [MARK, MARK, FLAGS],
      [DATA, FRAMES[0], FLAGS],
      [DATA + 4096, FRAMES[1], run.second ?? FLAGS],
      [DEVICE, BEYOND, FLAGS],
    ],
    registers: { RBX: run.at, RCX: ADDEND, RAX: 1, RDX: 2, RSI: MARK },
  };
  worker.postMessage(message);
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

// Runs while the bus is locked; where the instruction waits for it, it is unlocked.
async function runLocked(run: Run, waits: boolean): Promise<Ended> {
  const memory = makeMemory(run.before);
  const view = new DataView(memory.memory.buffer);
  const lock = new Int32Array(memory.common.buffer, BUS_LOCK, 1);
  const worker = new Worker(new URL("_locked_worker.ts", import.meta.url), {
    type: "module",
  });
  try {
    Atomics.store(lock, 0, 1);
    let isDone = false;
    const ended = start(worker, memory, run).finally(() => isDone = true);
    if (waits) {
      while (view.getUint8(MARK) === 0) await sleep(1);
      await sleep(WAIT_MS);
      assertEquals(isDone, false, "it waits");
      Atomics.store(lock, 0, 0);
    }
    const end = await ended;
    assertEquals(Atomics.load(lock, 0), waits ? 0 : 1, "as it was before");
    return { ...end, view };
  } finally {
    worker.terminate();
  }
}

Deno.test("a locked update of aligned memory needs no bus lock", async () => {
  const before = { [FRAMES[0] + 8]: 1n };
  const { vector, view } = await runLocked({ at: DATA + 8, before }, false);
  assertEquals(vector, VECTOR.UD);
  assertEquals(view.getBigUint64(FRAMES[0] + 8, true), ADDEND + 1n);
});

Deno.test("a locked update of unaligned memory locks the bus", async () => {
  const before = { [FRAMES[0] + 3]: 0xffn };
  const { vector, view } = await runLocked({ at: DATA + 3, before }, true);
  assertEquals(vector, VECTOR.UD);
  assertEquals(view.getBigUint64(FRAMES[0] + 3, true), ADDEND + 0xffn);
});

Deno.test("CMPXCHG16B locks the bus", async () => {
  const at = FRAMES[0] + 16;
  const run = { program: EXCHANGE16, at: DATA + 16 };
  const before = { [at]: 1n, [at + 8]: 2n };
  const { vector, view } = await runLocked({ ...run, before }, true);
  assertEquals(vector, VECTOR.UD);
  // RBX and RCX took the place of what RAX and RDX expected.
  assertEquals(view.getBigUint64(at, true), BigInt(run.at));
  assertEquals(view.getBigUint64(at + 8, true), ADDEND);
});

Deno.test("a locked update reaches across two pages", async () => {
  for (let first = 1; first < 8; first++) {
    const below = FRAMES[0] + 4096 - first;
    const run = { at: DATA + 4096 - first };
    const before = { [below]: -1n, [FRAMES[1]]: -1n };
    const { vector, view } = await runLocked({ ...run, before }, true);
    assertEquals(vector, VECTOR.UD);
    const bits = BigInt(8 * first);
    const low = view.getBigUint64(below, true);
    const high = view.getBigUint64(FRAMES[1], true);
    const sum = ADDEND - 1n;
    assertEquals(BigInt.asUintN(8 * first, low), sum & ((1n << bits) - 1n));
    assertEquals(BigInt.asUintN(64 - 8 * first, high), sum >> bits);
  }
});

Deno.test("a locked update that faults leaves the bus and memory alone", async () => {
  const at = FRAMES[0] + 4088;
  const run = { at: DATA + 4093, second: PTE.P, before: { [at]: 7n } };
  const { vector, cr2, view } = await runLocked(run, false);
  assertEquals([vector, cr2], [VECTOR.PF, BigInt(DATA + 4096)]);
  assertEquals(view.getBigUint64(at, true), 7n);
});

Deno.test("a locked update of device memory leaves without the bus locked", async () => {
  const { code } = await runLocked({ at: DEVICE + 4 }, false);
  assertEquals(code, EXIT_CODE.INST_EMUL);
});
