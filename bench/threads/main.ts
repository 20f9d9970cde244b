// What several vCPUs cost each other: a device access from a vCPU that has none in its
// thread, an interrupt from vCPU to vCPU, and the work of two against that of one. The
// guest counts time stamps, which are nanoseconds.

import {
  BSP_START,
  buildMachine,
  CODE,
  type TestProgram,
  wordAt,
} from "../../bhyve/_threads_testing.ts";

const NS_PER_US = 1000;
const RUNS = 3;
const RESULT = 0x5000;
const HANDLER = BSP_START + 0x1000;

// What each measured piece of code is: EAX is the time that it took.
const MEASURED = (code: string) => `0f31 89c6 ${code} 0f31 29f0`;
// mov [RESULT], eax; lock inc [5048h]
const TELL = "a300500000 f0ff0548500000";

const CALLS = 20_000;
// mov ecx, CALLS; 1: in al, 71h; dec ecx; jnz 1b
const READS = MEASURED("b9204e0000 e471 49 75fb");
// until [5048h] is 1: adds
const BUSY = "31c9 41 01c8 833d4850000001 75f4";
// lidt; local timer every 2 ms; sti; until [5048h] is 1: hlt
const IDLE = `0f011d00510000 c7052003e0fe40000200 c705e003e0fe0b000000
  c7058003e0fe00002000 fb f4 833d4850000001 75f6`;

const ROUNDS = 40_000;
// until [5074h] is 1; lidt; sti; for ecx in 1..ROUNDS: IPI 41h to APIC 1; until [5070h]
// is ecx
const INTERRUPTS = `f390 833d7450000001 75f5 0f011d00510000 fb ${
  MEASURED(
    `b901000000 c7051003e0fe00000001 c7050003e0fe41400000 3b0d70500000 75f8
     41 81f9419c0000 72db`,
  )
}`;
// local APIC on; lidt; sti; mov [5074h], 1
const LISTEN = "c705f000e0feff010000 0f011d00510000 fb c7057450000001000000";
// inc [5070h]; EOI; iret
const COUNT = "ff0570500000 c705b000e0fe00000000 cf";
// EOI; iret
const ACKNOWLEDGE = "c705b000e0fe00000000 cf";

// 30 million times add, xor, dec, jnz
const WORK = MEASURED("b980c3c901 31c0 01c8 83f05a 49 75f8");
// until [5048h] is 1 or 2
const UNTIL_ONE = "f390 833d4850000001 75f5";
const UNTIL_TWO = "f390 833d4850000002 75f5";

async function time(program: TestProgram): Promise<number> {
  const { threads, ram } = await buildMachine(program);
  threads.run();
  await threads.ended;
  return wordAt(ram, RESULT);
}

// The best of several runs: others use the host, too.
async function best(program: TestProgram): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < RUNS; n++) times.push(await time(program));
  return Math.min(...times);
}

function withHandler(vector: number, code: string): Partial<TestProgram> {
  return { more: { [HANDLER]: code }, handlers: { [vector]: HANDLER } };
}

const ACCESSES: readonly (readonly [string, number, TestProgram])[] = [
  ["port read by vCPU 0", CALLS, {
    vcpus: 1,
    bsp: `${READS} ${TELL} ${CODE.END}`,
  }],
  ["port read by vCPU 1, vCPU 0 busy", CALLS, {
    bsp: `${CODE.START_AP} ${BUSY} ${CODE.END}`,
    ap: `${READS} ${TELL} ${CODE.HALT}`,
  }],
  ["port read by vCPU 1, vCPU 0 idle", CALLS, {
    bsp: `${CODE.START_AP} ${IDLE} ${CODE.END}`,
    ap: `${READS} ${TELL} ${CODE.HALT}`,
    ...withHandler(0x40, ACKNOWLEDGE),
  }],
  ["interrupt to a busy vCPU, and its count seen", ROUNDS, {
    bsp: `${CODE.START_AP} ${INTERRUPTS} ${TELL} ${CODE.END}`,
    ap: `${LISTEN} ebfe`,
    ...withHandler(0x41, COUNT),
  }],
  ["interrupt to a halted vCPU, and its count seen", ROUNDS, {
    bsp: `${CODE.START_AP} ${INTERRUPTS} ${TELL} ${CODE.END}`,
    ap: `${LISTEN} f4 ebfd`,
    ...withHandler(0x41, COUNT),
  }],
];

async function workOfTwo(): Promise<number> {
  const alone = await best({
    bsp: `${WORK} ${TELL} ${UNTIL_ONE} ${CODE.END}`,
    vcpus: 1,
  });
  const together = await best({
    bsp: `${CODE.START_AP} ${WORK} ${TELL} ${UNTIL_TWO} ${CODE.END}`,
    ap: `${WORK} ${TELL} ${CODE.HALT}`,
  });
  return 2 * alone / together;
}

/** Prints the table. */
export async function benchThreads(): Promise<void> {
  console.log(`| between vCPUs, best of ${RUNS} | µs |\n| --- | ---: |`);
  for (const [what, count, program] of ACCESSES) {
    const each = await best(program) / count / NS_PER_US;
    console.log(`| ${what} | ${each.toFixed(2)} |`);
  }
  const work = await workOfTwo();
  console.log(`\nTwo busy vCPUs do ${work.toFixed(2)} times the work of one.`);
}
