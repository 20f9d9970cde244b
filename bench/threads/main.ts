// What several vCPUs cost each other: a device access from a vCPU that has none in its
// thread, an interrupt from vCPU to vCPU and back, the work of two against that of one.

import {
  BSP_START,
  buildMachine,
  CODE,
  type TestProgram,
  wordAt,
} from "../../bhyve/_threads_testing.ts";

const NS_PER_US = 1000;
const RUNS = 5;

// rdtsc; 20,000 times in al, 71h; [5000h] = time; tell [5048h]
const CALLS = 20_000;
const CALLER = `0f31 89c6 b9204e0000 e471 49 75fb 0f31 29f0 a300500000
  f0ff0548500000 ${CODE.HALT}`;
// counts in ecx until told
const BUSY = "31c9 41 01c8 833d4850000001 75f4 890d04500000";
// sti; hlt until told: the timer of the local APIC wakes it now and then
const IDLE = `0f011d00510000 c7052003e0fe40000200 c705e003e0fe0b000000
  c7058003e0fe00002000 fb f4 833d4850000001 75f6`;
// EOI; iret
const ACKNOWLEDGE = "c705b000e0fe00000000 cf";

async function wordAfter(
  program: TestProgram,
  gpa: number,
): Promise<number> {
  const { threads, ram } = await buildMachine(program);
  threads.run();
  await threads.ended;
  return wordAt(ram, gpa);
}

async function median(measure: () => Promise<number>): Promise<number> {
  const values: number[] = [];
  for (let n = 0; n < RUNS; n++) values.push(await measure());
  return values.sort((a, b) => a - b)[RUNS >> 1]!;
}

async function callTime(bsp: string): Promise<number> {
  const time = await median(() =>
    wordAfter({
      bsp: `${CODE.START_AP} ${bsp} ${CODE.END}`,
      ap: CALLER,
      more: { [BSP_START + 0x1000]: ACKNOWLEDGE },
      handlers: { 0x40: BSP_START + 0x1000 },
    }, 0x5000)
  );
  return time / CALLS / NS_PER_US;
}

// The same accesses by the vCPU that has the devices in its thread.
async function ownTime(): Promise<number> {
  const program = CALLER.replace(CODE.HALT, CODE.END);
  const time = await median(() =>
    wordAfter({ bsp: program, vcpus: 1 }, 0x5000)
  );
  return time / CALLS / NS_PER_US;
}

/** Prints the table. */
export async function benchThreads(): Promise<void> {
  const rows: readonly (readonly [string, number])[] = [
    ["port read by vCPU 0", await ownTime()],
    ["port read by vCPU 1, vCPU 0 busy", await callTime(BUSY)],
    ["port read by vCPU 1, vCPU 0 idle", await callTime(IDLE)],
  ];
  console.log("| access | µs |\n| --- | ---: |");
  for (const [what, time] of rows) {
    console.log(`| ${what} | ${time.toFixed(2)} |`);
  }
}
