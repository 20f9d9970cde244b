// 32-bit programs of several vCPUs that change each other's code and page tables: a small
// assembler with labels, and a machine that runs one in the real threads. What a program
// found wrong it counts at `AT.ERRORS`.

import {
  AP_START,
  BSP_START,
  buildMachine,
  CODE,
  wordAt,
} from "../../../bhyve/_threads_testing.ts";
import type { MachineThreads } from "../../../bhyve/threads.ts";
import { SUSPEND } from "../../../vmm/cpu/exits.ts";
import { le32 } from "../litmus/tests.ts";

/** Words that programs share, each in a cache line of its own. */
export const AT = {
  ERRORS: 0x10_1000,
  /** what the reader has done */
  ROUNDS: 0x10_1080,
  STOP: 0x10_1100,
  DONE: 0x10_1180,
  /** what writers have announced, and the reader's answer */
  TOLD: 0x10_1200,
  TOLD_TOO: 0x10_1280,
  HEARD: 0x10_1300,
  RESULT: 0x10_1380,
  TURNS: 0x10_1400,
} as const;

/** Where the other vCPUs' programs are. */
const STARTS = [BSP_START, 0x2_0000, 0x2_8000];

/** Bytes in hexadecimal, a label, or an opcode with a relative target of 32 bits. */
export type Part =
  | string
  | { readonly label: string }
  | { readonly opcode: string; readonly to: string | number };

/** A place to branch to. */
export const label = (name: string): Part => ({ label: name });
const branch = (opcode: string) => (to: string | number): Part => ({
  opcode,
  to,
});
/** Branches and calls. */
export const JUMP = {
  always: branch("e9"),
  equal: branch("0f84"),
  notEqual: branch("0f85"),
  less: branch("0f8c"),
  call: branch("e8"),
} as const;

function sizeOf(part: Part): number {
  if (typeof part === "string") return part.replace(/\s+/g, "").length / 2;
  return "label" in part ? 0 : part.opcode.length / 2 + 4;
}

/** The code of parts that begin at an address. */
export function assemble(start: number, parts: readonly Part[]): string {
  const labels = new Map<string, number>();
  let at = start;
  for (const part of parts) {
    if (typeof part !== "string" && "label" in part) labels.set(part.label, at);
    at += sizeOf(part);
  }
  at = start;
  return parts.map((part) => {
    at += sizeOf(part);
    if (typeof part === "string") return part;
    if ("label" in part) return "";
    const { opcode, to } = part;
    const target = typeof to === "number" ? to : labels.get(to);
    if (target === undefined) throw new RangeError(`No label ${to}`);
    return opcode + le32(target - at);
  }).join("");
}

/** One program. */
export interface Crossing {
  readonly name: string;
  /** vCPU 0's: it goes on at the end when all is done; then the others' */
  readonly vcpus: readonly (readonly Part[])[];
  /** more bytes by address */
  readonly more?: Readonly<Record<number, string>>;
  readonly handlers?: Readonly<Record<number, number>>;
  /** what this thread does as long as the machine runs, over and over */
  readonly host?: (threads: MachineThreads) => void;
}

/** What a program found. */
export interface Found {
  readonly errors: number;
  readonly rounds: number;
  /** whether code that was executed changed */
  readonly hasChanged: boolean;
}

// INIT and STARTUP to vCPU 2, as CODE.START_AP to vCPU 1.
const START_SECOND = `c7051003e0fe00000002 c7050003e0fe00450000
  c7050003e0fe08460000`;

// Those that all others run: by its APIC ID each finds its own.
function others(count: number): string {
  const id = "a12000e0fe c1e818";
  const parts = STARTS.slice(1, count).flatMap((start, n) => [
    `3d${le32(n + 1)}`,
    JUMP.equal(start),
  ]);
  return assemble(AP_START, [id, ...parts, CODE.HALT]);
}

function moreOf({ vcpus, more }: Crossing): Record<number, string> {
  const programs = vcpus.slice(1).map((parts, n) => {
    const start = STARTS[n + 1]!;
    return [start, assemble(start, [...parts, CODE.HALT])] as const;
  });
  return { ...more, ...Object.fromEntries(programs) };
}

/** Runs a program to its end. */
export async function runCrossing(program: Crossing): Promise<Found> {
  const { vcpus, handlers, host } = program;
  const { threads, ram } = await buildMachine({
    vcpus: vcpus.length,
    bsp: assemble(BSP_START, [
      CODE.START_AP,
      vcpus.length > 2 ? START_SECOND : "",
      ...vcpus[0]!,
      CODE.END,
    ]),
    ap: others(vcpus.length),
    more: moreOf(program),
    ...handlers === undefined ? {} : { handlers },
  });
  threads.run();
  const turn = setInterval(() => host?.(threads), 0);
  const end = await threads.ended;
  clearInterval(turn);
  if (end.kind !== "suspended" || end.how !== SUSPEND.RESET) {
    throw new Error(`The machine ended: ${JSON.stringify(end)}`);
  }
  return {
    errors: wordAt(ram, AT.ERRORS),
    rounds: wordAt(ram, AT.ROUNDS),
    hasChanged: wordAt(ram, AT.RESULT) !== 0,
  };
}
