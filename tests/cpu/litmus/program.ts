// Litmus tests as a program of two vCPUs. A round: the first prepares and lets the second
// go, both wait a little, each as long as its own random numbers say, do their part, and
// the first counts the outcome.

import {
  BSP_START,
  buildMachine,
  CODE,
  wordAt,
} from "../../../bhyve/_threads_testing.ts";
import { SUSPEND } from "../../../vmm/cpu/exits.ts";
import { AT, le32, type Litmus } from "./tests.ts";

/** Words that the vCPUs meet at. */
const MEET = {
  GO: 0x10_1000,
  READY: 0x10_1080,
  START: 0x10_1100,
  DONE: 0x10_1180,
} as const;
/** Counts of outcomes: for each test `KINDS` words. */
const COUNTS = 0x10_2000;
const KINDS = 8;
/** What an outcome is called that has no name of its own. */
const OTHER = "other";
/** Where vCPU 1's program is: what starts it jumps there. */
const SECOND_START = 0x2_0000;

const tell = (at: number) => `891d${le32(at)}`;
// 1: pause; cmp [at], ebx; jne 1b
const await_ = (at: number) => `f390391d${le32(at)}75f6`;
// 1: cmp [at], ebx; jne 1b
const awaitSharply = (at: number) => `391d${le32(at)}75f8`;
// esi = esi * 1664525 + 1013904223; ecx = esi >> 25; jecxz 2f; 1: loop 1b
const DELAY = "69f60d661900 81c65ff36e3c 89f1 c1e919 e302 e2fe";

function bytesIn(code: string): number {
  return code.replace(/\s+/g, "").length / 2;
}

// mov ebx, rounds; 1: ...; dec ebx; jne 1b
function loop(rounds: number, body: string): string {
  const back = -(bytesIn(body) + 1 + 6);
  return `bb${le32(rounds)}${body}4b0f85${le32(back)}`;
}

function firstPart(test: Litmus, n: number, rounds: number): string {
  const counts = COUNTS + 4 * KINDS * n;
  return loop(
    rounds,
    [
      ...[test.prepare, tell(MEET.GO), await_(MEET.READY), tell(MEET.START)],
      ...[DELAY, test.first, "89c5", await_(MEET.DONE), "89e8", test.classify],
      // cmp eax, 7; jbe 1f; mov eax, 7; 1: inc dword [counts + 4 * eax]
      ...["83f807 7605 b807000000", `ff0485${le32(counts)}`],
    ].join(""),
  );
}

function secondPart(test: Litmus, rounds: number): string {
  return loop(
    rounds,
    [
      ...[await_(MEET.GO), test.settle ?? "", tell(MEET.READY)],
      ...[awaitSharply(MEET.START), DELAY, test.second, tell(MEET.DONE)],
    ].join(""),
  );
}

/** How often each outcome came, by its name. */
export type Counts = Readonly<Record<string, number>>;

function countsOf(test: Litmus, at: (kind: number) => number): Counts {
  const counts: Record<string, number> = {};
  for (let kind = 0; kind < KINDS; kind++) {
    const name = test.outcomes[kind] ?? OTHER;
    const count = at(kind);
    if (count > 0) counts[name] = (counts[name] ?? 0) + count;
  }
  return counts;
}

/** Runs tests, one after the other, in one machine: what came of each. */
export async function runLitmus(
  tests: readonly Litmus[],
  rounds: number,
): Promise<Counts[]> {
  const first = tests.map((test, n) => firstPart(test, n, rounds)).join("");
  const second = tests.map((test) => secondPart(test, rounds)).join("");
  const { threads, ram } = await buildMachine({
    // mov esi, 1
    bsp: `${CODE.START_AP} be01000000 ${first} ${CODE.END}`,
    // mov esi, 2; mov eax, SECOND_START; jmp eax
    ap: `be02000000 b8${le32(SECOND_START)} ffe0`,
    more: {
      [SECOND_START]: second + CODE.HALT,
      [AT.FUNCTION]: "b800000000c3",
    },
  });
  if (bytesIn(first) > SECOND_START - BSP_START - 0x100) {
    throw new RangeError("The first vCPU's program is too long");
  }
  threads.run();
  const end = await threads.ended;
  if (end.kind !== "suspended" || end.how !== SUSPEND.RESET) {
    throw new Error(`The machine ended: ${JSON.stringify(end)}`);
  }
  return tests.map((test, n) =>
    countsOf(test, (kind) => {
      return wordAt(ram, COUNTS + 4 * (KINDS * n + kind));
    })
  );
}
