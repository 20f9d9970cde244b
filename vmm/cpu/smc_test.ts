// Self- and cross-modifying code (Intel SDM vol. 3, 9.1.3 and 12.6): a store is seen
// by the next instruction, however it reaches the bytes.

import { assertEquals } from "@std/assert";
import { CR4, PageTables, PTE, TestMachine, testTiers } from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";

const CODE = 0x8000;
const NEXT = 0x9000;
const SOURCE = 0xc000;
const END = 0xd000;
const ALIAS = 0x60_0000;
const FLAGS = PTE.P | PTE.RW;
const UD2 = "0f0b";

/**
 * What is run: "mov edi, 99h; ret". Every store replaces its first bytes by the
 * first of "mov eax, 99h; ret; nop; nop", so that one byte is enough.
 */
const BEFORE = "bf99000000 c39090 00000000 00000000";
const AFTER = 0x9090_c300_0000_99b8n;

function longMachine(): TestMachine {
  const machine = new TestMachine();
  const tables = new PageTables(machine, "long");
  for (let at = CODE; at < CODE + 0x8000; at += 4096) tables.map(at, at, FLAGS);
  for (let n = 0; n < 4; n++) {
    tables.map(ALIAS + n * 4096, CODE + n * 4096, FLAGS);
  }
  machine.enter("long", { tables, cr4: CR4.OSFXSR });
  machine.poke64(SOURCE, AFTER);
  machine.poke64(SOURCE + 8, 0n);
  machine.poke(END, UD2);
  machine.poke64(CODE + 0x7000, BigInt(END));
  return machine;
}

interface Layout {
  /** where the victim is */
  readonly victim: number;
  /** what is added to its address for the store */
  readonly alias?: number;
  readonly program: string;
}

// Runs by blocks and by single steps: RAX afterwards, which must agree.
function raxAfter({ victim, alias = 0, program }: Layout): bigint {
  const values = [10_000, 100].map((instructions) => {
    const machine = longMachine();
    machine.poke(victim, BEFORE);
    machine.poke(CODE, program);
    const target = victim + alias;
    machine.set({ RIP: CODE, RSP: CODE + 0x7000, RSI: SOURCE, RBP: victim });
    machine.set({ RAX: AFTER, RCX: AFTER, RBX: target, RDI: target });
    assertEquals(machine.runToException(instructions).vector, VECTOR.UD);
    return machine.get("RAX");
  });
  assertEquals(values[0], values[1]);
  return values[0]!;
}

/** Each writes at [RBX], from RAX or [RSI]. */
const STORES: readonly (readonly [name: string, program: string])[] = [
  ["mov m8, r8", "8803"],
  ["mov m16, r16", "668903"],
  ["mov m32, r32", "8903"],
  ["mov m64, r64", "488903"],
  ["mov m8, imm8", "c603b8"],
  ["and m8, r8", "2003"],
  ["lock and m8, r8", "f02003"],
  ["add m8, r8", "b0f9 0003"],
  ["xadd m8, r8", "b0f9 0fc003"],
  ["xchg m8, r8", "8603"],
  ["xchg m64, r64", "488703"],
  ["cmpxchg m8, r8", "b0bf 0fb00b"],
  ["lock cmpxchg m8, r8", "b0bf f00fb00b"],
  ["btr m32, imm8", "0fba3300 0fba3301 0fba3302"],
  ["stosb", "aa"],
  ["stosq", "48ab"],
  ["rep stosb", "b901000000 f3aa"],
  ["rep stosq", "b901000000 f348ab"],
  ["movsb", "a4"],
  ["movsq", "48a5"],
  ["rep movsb", "b910000000 f3a4"],
  ["rep movsq", "b902000000 f348a5"],
  ["push", "4889e1 488d6308 50 4889cc"],
  ["pop m64", "50 8f03"],
  ["movnti m32", "0fc303"],
  ["movd m32, xmm", "0f1006 660f7e03"],
  ["movq m64, xmm", "0f1006 660fd603"],
  ["movups m128, xmm", "0f1006 0f1103"],
  ["fistp m64", "dbe3 df2e df3b"],
];

// call rbp
const CALL = "ffd5";
// xor eax, eax
const CLEAR = "31c0";

for (const [name, store] of STORES) {
  const bytes = store.replace(/ /g, "").length / 2;

  testTiers(`${name} changes the next instruction of its block`, () => {
    const rax = raxAfter({ victim: CODE + bytes, program: store });
    assertEquals(rax, 0x99n);
  });

  testTiers(`${name} changes code that ran before`, () => {
    // The victim's first run changes EDI, which string stores need.
    const program = `57 ${CALL} 5f ${store} ${CLEAR} ${CALL} ${UD2}`;
    assertEquals(raxAfter({ victim: NEXT, program }), 0x99n);
  });

  testTiers(`${name} through an alias changes code that ran before`, () => {
    const program = `57 ${CALL} 5f ${store} ${CLEAR} ${CALL} ${UD2}`;
    const alias = ALIAS - CODE;
    assertEquals(raxAfter({ victim: NEXT, alias, program }), 0x99n);
  });

  testTiers(`${name} changes an instruction across pages`, () => {
    for (let before = 1; before < 5; before++) {
      const program = `57 ${CALL} 5f ${store} ${CLEAR} ${CALL} ${UD2}`;
      const victim = NEXT + 4096 - before;
      assertEquals(raxAfter({ victim, program }), 0x99n);
      const alias = ALIAS - CODE;
      assertEquals(raxAfter({ victim, alias, program }), 0x99n);
    }
  });
}

testTiers("a store to the second page of an instruction changes it", () => {
  for (let before = 1; before < 5; before++) {
    // call rbp; mov byte [rbx], 0x77; call rbp
    const machine = longMachine();
    const victim = NEXT + 4096 - before;
    machine.poke(victim, "b811111111 c3");
    machine.poke(CODE, `${CALL} c60377 ${CALL} ${UD2}`);
    machine.set({ RIP: CODE, RSP: CODE + 0x7000, RBP: victim });
    machine.set({ RBX: NEXT + 4096 });
    assertEquals(machine.runToException().vector, VECTOR.UD);
    const shift = 8n * BigInt(before - 1);
    const expected = 0x1111_1111n & ~(0xffn << shift) | 0x77n << shift;
    assertEquals(machine.get("RAX"), expected);
  }
});

testTiers("an instruction may change itself and finishes as it began", () => {
  // mov byte [rip - 7], 0xcc: its own first byte; then UD2
  const machine = longMachine();
  machine.poke(CODE, `c605f9ffffffcc ${UD2}`);
  machine.set({ RIP: CODE });
  const raised = machine.runToException();
  assertEquals([raised.vector, raised.rip], [VECTOR.UD, BigInt(CODE + 7)]);
  assertEquals(machine.memory.bytes[CODE], 0xcc);
});

testTiers("a loop that rewrites its body runs each version once", () => {
  // mov ecx, 5; L: mov eax, 0; add edx, eax; inc byte [rip - 8]; dec ecx; jnz L; ud2
  const machine = longMachine();
  machine.poke(
    CODE,
    `b905000000 b800000000 01c2 fe05f4ffffff ffc9 75ef ${UD2}`,
  );
  for (const instructions of [10_000, 100]) {
    machine.set({ RIP: CODE, RDX: 0 });
    machine.poke(CODE + 6, "00");
    assertEquals(machine.runToException(instructions).vector, VECTOR.UD);
    // 0 + 1 + 2 + 3 + 4
    assertEquals(machine.get("RDX"), 10n);
  }
});

testTiers("REP MOVSB copies code over what follows it", () => {
  // mov ecx, 6; rep movsb; (replaced)
  const machine = longMachine();
  machine.poke(CODE, `b908000000 f3a4 ${BEFORE}`);
  machine.poke(SOURCE, `b844332211 ${UD2} 90`);
  machine.set({ RIP: CODE, RSI: SOURCE, RDI: CODE + 7 });
  const raised = machine.runToException();
  assertEquals([raised.vector, raised.rip], [VECTOR.UD, BigInt(CODE + 12)]);
  assertEquals(machine.get("RAX"), 0x1122_3344n);
});

testTiers(
  "what is undefined at the end of a page may be changed to what is not",
  () => {
    const machine = longMachine();
    // UD1, which has no operand yet, and then CPUID
    machine.poke(NEXT + 4094, `0fb9 ${UD2}`);
    machine.set({ RIP: NEXT + 4094 });
    assertEquals(machine.runToException().rip, BigInt(NEXT + 4094));
    machine.poke(CODE, "c603a2 ffe5"); // mov byte [rbx], a2h; jmp rbp
    machine.set({ RIP: CODE, RBX: NEXT + 4095, RBP: NEXT + 4094 });
    assertEquals(machine.runToException().rip, BigInt(NEXT + 4096));
  },
);

testTiers("code written by another CPU is seen when its writer is done", () => {
  const first = longMachine();
  const second = new TestMachine({
    memory: first.memory,
    cpuid: { vcpu: 1 },
  });
  for (const store of ["8803", "488903", "f3aa", "0f1006 0f1103"]) {
    first.poke(NEXT, BEFORE);
    first.poke(CODE, `${CALL} ${UD2}`);
    const run = () => {
      first.set({ RIP: CODE, RSP: CODE + 0x7000, RBP: NEXT, RAX: 0, RDI: 0 });
      assertEquals(first.runToException().vector, VECTOR.UD);
      return [first.get("RAX"), first.get("RDI")];
    };
    assertEquals(run(), [0n, 0x99n], store);
    second.poke(CODE + 0x100, `${store} ${UD2}`);
    const tables = new PageTables(second, "long", 0x70_0000);
    for (const page of [CODE, NEXT, SOURCE]) tables.map(page, page, FLAGS);
    second.enter("long", { tables, cr4: CR4.OSFXSR });
    second.set({ RIP: CODE + 0x100, RBX: NEXT, RDI: NEXT, RSI: SOURCE });
    second.set({ RAX: AFTER, RCX: 1 });
    assertEquals(second.runToException().vector, VECTOR.UD);
    assertEquals(run(), [0x99n, 0n], store);
  }
});

testTiers("two CPUs rewrite each other's code by turns", () => {
  const first = longMachine();
  const second = new TestMachine({ memory: first.memory, cpuid: { vcpu: 1 } });
  const tables = new PageTables(second, "long", 0x70_0000);
  for (const page of [CODE, NEXT, CODE + 0x2000]) {
    tables.map(page, page, FLAGS);
  }
  second.enter("long", { tables });
  // inc byte [rbx]; mov eax, 0; ud2, where RBX is the other's immediate
  const program = `fe03 b800000000 ${UD2}`;
  first.poke(NEXT, program);
  first.poke(CODE + 0x2000, program);
  for (let turn = 1; turn < 20; turn++) {
    first.set({ RIP: NEXT, RBX: CODE + 0x2003 });
    second.set({ RIP: CODE + 0x2000, RBX: NEXT + 3 });
    first.runToException();
    second.runToException();
    assertEquals(first.get("RAX"), BigInt(turn - 1));
    assertEquals(second.get("RAX"), BigInt(turn));
  }
});

testTiers("dropCode() makes writes of devices take effect", () => {
  const machine = longMachine();
  machine.poke(CODE, `b811000000 ${UD2}`);
  machine.set({ RIP: CODE });
  machine.runToException();
  machine.memory.bytes[CODE + 1] = 0x22;
  machine.memory.dropCode(CODE + 1, 1);
  machine.set({ RIP: CODE });
  machine.runToException();
  assertEquals(machine.get("RAX"), 0x22n);
});

testTiers(
  "a page written through many addresses before it holds code is watched through each",
  () => {
    const count = 5;
    const machine = longMachine();
    const tables = new PageTables(machine, "long", 0x70_0000);
    for (let at = CODE; at < CODE + 0x8000; at += 4096) {
      tables.map(at, at, FLAGS);
    }
    for (let n = 0; n < count; n++) tables.map(ALIAS + n * 4096, NEXT, FLAGS);
    machine.enter("long", { tables, cr4: CR4.OSFXSR });
    // mov eax, 0; ret
    machine.poke(NEXT, "b800000000 c3");
    // A displacement of so many pages.
    const at = (n: number) => `00${n % count}00000`;
    const turns = Array.from({ length: 3 * count }, (_, n) => n);
    // mov [rbx + n * 4096], dl; ...; each turn: inc byte [rbx + n * 4096]; call rbp; add esi, eax
    const program = [
      ...turns.slice(0, count).map((n) => `8893 ${at(n)}`),
      ...turns.map((n) => `fe83 ${at(n)} ${CALL} 01c6`),
      UD2,
    ];
    machine.poke(CODE, program.join(" "));
    machine.set({ RIP: CODE, RSP: CODE + 0x7000, RBP: NEXT, RSI: 0, RDX: 7 });
    machine.set({ RBX: ALIAS + 1 });
    assertEquals(machine.runToException().vector, VECTOR.UD);
    const sum = turns.reduce((sum, n) => sum + 8 + n, 0);
    assertEquals(machine.get("RSI"), BigInt(sum));
  },
);
