// PE is set where, and only where, a result is not exact: what the fast paths of exact
// arithmetic decide, against integers of any size.

import { assert, assertEquals } from "@std/assert";
import { CR4, TestMachine } from "../testing.ts";

const CODE = 0x8000;
const DATA = 0x9000;
const [A, B, RESULT, BEFORE, AFTER] = [0, 8, 16, 24, 28].map((n) => DATA + n);
const PE = 0x20;
const MXCSR = 0x1f80;
const ROUNDS = 400;

type Exact = readonly [significand: bigint, exponent: number];

const view = new DataView(new ArrayBuffer(8));

function bitsOf(value: number): bigint {
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}

function exact(value: number): Exact {
  const bits = bitsOf(value);
  const field = Number(bits >> 52n & 0x7ffn);
  const fraction = bits & (1n << 52n) - 1n;
  const significand = field === 0 ? fraction : fraction | 1n << 52n;
  const sign = bits >> 63n ? -1n : 1n;
  return [sign * significand, Math.max(field, 1) - 1075];
}

function isSame([a, i]: Exact, [b, j]: Exact): boolean {
  const least = Math.min(i, j);
  return a << BigInt(i - least) === b << BigInt(j - least);
}

function sum([a, i]: Exact, [b, j]: Exact): Exact {
  const least = Math.min(i, j);
  return [(a << BigInt(i - least)) + (b << BigInt(j - least)), least];
}

const product = ([a, i]: Exact, [b, j]: Exact): Exact => [a * b, i + j];

/** Opcode, and whether a result is exact, by operation. */
const OPERATIONS: Readonly<
  Record<
    string,
    readonly [string, (a: number, b: number, r: number) => boolean]
  >
> = {
  addsd: ["58", (a, b, r) => isSame(sum(exact(a), exact(b)), exact(r))],
  subsd: ["5c", (a, b, r) => isSame(sum(exact(a), exact(-b)), exact(r))],
  mulsd: ["59", (a, b, r) => isSame(product(exact(a), exact(b)), exact(r))],
  divsd: ["5e", (a, b, r) => isSame(product(exact(r), exact(b)), exact(a))],
  sqrtsd: ["51", (_a, b, r) => isSame(product(exact(r), exact(r)), exact(b))],
};

function address(at: number | undefined): string {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, at!, true);
  return [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
}

// ldmxcsr; movsd xmm0, a; movsd xmm1, b; OP xmm0, xmm1; movsd result, xmm0; stmxcsr.
function machineFor(opcode: string): TestMachine {
  const machine = new TestMachine();
  machine.enter("protected32", { cr4: CR4.OSFXSR });
  machine.poke(
    CODE,
    `0fae15${address(BEFORE)} f20f1005${address(A)} f20f100d${address(B)}` +
      `f20f${opcode}c1 f20f1105${address(RESULT)} 0fae1d${address(AFTER)} 0f0b`,
  );
  machine.poke32(BEFORE!, MXCSR);
  return machine;
}

// Integers, fractions with few bits, and numbers with all of them; near and far.
function number(random: () => number): number {
  const scale = 2 **
    [0, 0, 0, -3, 20, -30, 300, -300][Math.floor(random() * 8)]!;
  const size = 2 ** [4, 12, 26, 30, 53][Math.floor(random() * 5)]!;
  const whole = Math.floor(random() * size);
  return (random() < 0.3 ? random() : whole) * scale;
}

function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    return (state >>> 8) / 2 ** 24 + (state & 0xff) / 2 ** 32;
  };
}

for (const [name, [opcode, isExact]] of Object.entries(OPERATIONS)) {
  Deno.test(`${name} sets PE where its result is not exact`, () => {
    const machine = machineFor(opcode);
    const random = pseudoRandom(name.length + Number(`0x${opcode}`));
    const seen = [0, 0];
    for (let n = 0; n < ROUNDS; n++) {
      const a = number(random) * (random() < 0.3 && name !== "sqrtsd" ? -1 : 1);
      const root = number(random);
      // Squares and divisors of what is divided are what chance does not bring.
      const b = name === "sqrtsd" && random() < 0.5 ? root * root : root || 1;
      const dividend = name === "divsd" && random() < 0.5 ? a * b : a;
      machine.view.setFloat64(A!, dividend, true);
      machine.view.setFloat64(B!, b, true);
      machine.set({ RIP: CODE });
      machine.runToException();
      const result = machine.view.getFloat64(RESULT!, true);
      const flags = machine.peek32(AFTER!) & 0x3f;
      if (flags & ~PE) continue;
      const expected = isExact(dividend, b, result) ? 0 : PE;
      assertEquals(flags, expected, `${name} ${dividend} ${b}: ${result}`);
      seen[expected ? 1 : 0]!++;
    }
    assert(Math.min(...seen) > ROUNDS / 20, `${seen} were exact and inexact`);
  });
}
