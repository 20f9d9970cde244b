// POPF and PUSHF: which flags change in which mode (Intel SDM vol. 2, POPF, table 4-16;
// vol. 3, 20.3). ENTER: the order of its checks. What else it, PUSHA and POPA do, the
// fuzzer compares with silicon.

import { assertEquals } from "@std/assert";
import {
  CR0,
  type EnterOptions,
  type ModeName,
  TestMachine,
} from "../testing.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const STACK = 0x7000;
const UD2 = "0f0b";
const TF = 0x100;
const IF = 0x200;
const DF = 0x400;
const IOPL = 0x3000;
const NT = 0x4000;
const VM = 0x20000;
const AC = 0x40000;
const VIF = 0x80000;
const VIP = 0x100000;
const ID = 0x200000;
const ARITHMETIC = 0x8d5;
const VME = 1;

interface Case extends EnterOptions {
  readonly mode: ModeName;
  /** POPF with an operand-size prefix */
  readonly other?: boolean;
  readonly image: number;
  /** flags afterwards; undefined for #GP */
  readonly expected: number | undefined;
}

const CASES: readonly Case[] = [
  {
    mode: "protected32",
    image: ~TF >>> 0,
    expected: ARITHMETIC | IF | DF | IOPL | NT | AC | ID,
  },
  {
    mode: "protected32",
    other: true,
    image: 0xfeff,
    expected: ARITHMETIC | IF | DF | IOPL | NT,
  },
  {
    mode: "protected32",
    cpl: 3,
    image: ~TF >>> 0,
    expected: ARITHMETIC | DF | NT | AC | ID,
  },
  {
    mode: "protected32",
    cpl: 3,
    flags: IOPL | 2,
    image: IF,
    expected: IOPL | IF,
  },
  { mode: "protected32", cpl: 1, flags: 0x1202, image: 0, expected: 0x1000 },
  { mode: "protected32", cpl: 2, flags: 0x1202, image: 0, expected: 0x1200 },
  { mode: "real", image: IF | IOPL, expected: IF | IOPL },
  { mode: "vm86", flags: 2, image: 0, expected: undefined },
  {
    mode: "vm86",
    flags: IOPL | 2,
    image: IF | DF,
    expected: VM | IOPL | IF | DF,
  },
  // Virtual-8086 extensions: IF goes to VIF.
  { mode: "vm86", cr4: VME, image: IF | DF, expected: VM | VIF | DF },
  { mode: "vm86", cr4: VME, flags: VIF | 2, image: 0, expected: VM },
  {
    mode: "vm86",
    cr4: VME,
    flags: VIP | 2,
    image: IF,
    expected: undefined,
  },
  { mode: "vm86", cr4: VME, flags: VIP | 2, image: 0, expected: VM | VIP },
  { mode: "vm86", cr4: VME, image: TF, expected: undefined },
  { mode: "vm86", cr4: VME, other: true, image: 0, expected: undefined },
];

Deno.test("POPF changes what the mode allows", () => {
  for (const c of CASES) {
    const machine = new TestMachine();
    machine.enter(c.mode, c);
    machine.poke(CODE, (c.other ? "669d" : "9d") + UD2);
    machine.poke32(STACK, c.image);
    machine.set({ RIP: CODE, RSP: STACK });
    const { vector } = machine.runToException();
    const isRefused = c.expected === undefined;
    assertEquals(
      vector,
      isRefused ? VECTOR.GP : VECTOR.UD,
      JSON.stringify(c),
    );
    if (isRefused) assertEquals(machine.get("RSP"), BigInt(STACK));
    else {
      const flags = Number(machine.get("RFLAGS"));
      assertEquals(flags & ~2, c.expected, JSON.stringify(c));
    }
  }
});

Deno.test("PUSHF shows VIF in virtual-8086 mode with extensions", () => {
  const machine = new TestMachine();
  for (const flags of [VIF | 2, 2]) {
    machine.enter("vm86", { cr4: VME, flags });
    machine.poke(CODE, "9c" + UD2);
    machine.set({ RIP: CODE, RSP: STACK });
    machine.runToException();
    const image = machine.peek32(STACK - 2) & 0xffff;
    assertEquals(image, flags & VIF ? IOPL | IF | 2 : IOPL | 2);
  }
});

// With alignment checks, of nested frames.
const ENTERS: readonly {
  readonly code: string;
  readonly sp: number;
  readonly bp: number;
  readonly vector: number;
}[] = [
  { code: "c8040000", sp: STACK, bp: 1, vector: VECTOR.UD },
  { code: "c8040001", sp: STACK, bp: 1, vector: VECTOR.UD },
  // The enclosing frame's pointer lies on both sides of the last offset.
  { code: "c8040002", sp: STACK, bp: 1, vector: VECTOR.SS },
  { code: "c804000f", sp: STACK, bp: 0x13, vector: VECTOR.AC },
  { code: "c8040000", sp: 2, bp: STACK, vector: VECTOR.SS },
  { code: "c8040000", sp: STACK + 2, bp: STACK, vector: VECTOR.AC },
  { code: "66c8040000", sp: STACK + 2, bp: STACK, vector: VECTOR.UD },
  { code: "66c8040000", sp: 1, bp: STACK, vector: VECTOR.SS },
  // The new top is checked as if it were pushed to.
  { code: "c8010000", sp: STACK, bp: STACK, vector: VECTOR.AC },
];

Deno.test("ENTER checks the stack's limit before alignment", () => {
  for (const { code, sp, bp, vector } of ENTERS) {
    const machine = new TestMachine();
    machine.enter("protected32", { cpl: 3, cr0: CR0.AM, flags: AC | 2 });
    machine.poke(CODE, code + UD2);
    machine.set({ RIP: CODE, RSP: sp, RBP: bp });
    const raised = machine.runToException();
    assertEquals(raised.vector, vector, `${code} ${sp} ${bp}`);
    const isDone = vector === VECTOR.UD;
    if (!isDone) assertEquals(machine.get("RSP"), BigInt(sp), code);
  }
});
