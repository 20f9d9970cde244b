// Delivery of events and the return from them, against Intel SDM vol. 3, 6.10 to 6.14,
// 21.2 and 21.3, and vol. 2 (INT n, IRET, STI, CLI).

import { assertEquals } from "@std/assert";
import { EXIT_CODE, SUSPEND } from "./exits.ts";
import { REGISTER } from "./registers.ts";
import { CR4, testTiers } from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";
import {
  AT,
  checkFaults,
  type FaultCase,
  type GateSpec,
  type Op,
  SEL,
  SystemMachine,
} from "./system_testing.ts";

const { BP, DB, DF, GP, NP, OF, PF, SS, TS, UD } = VECTOR;
let m = new SystemMachine();

// Each has a machine of its own in each tier.
function test(name: string, body: () => void): void {
  testTiers(name, () => {
    m = new SystemMachine();
    body();
  });
}

const TF = 0x100;
const IF = 0x200;
const IOPL = 0x3000;
const NT = 0x4000;
const RF = 0x1_0000;
const VM = 0x2_0000;
const VIF = 0x8_0000;
const VIP = 0x10_0000;
const EXT = 1;
const IDT = 2;

function flags(): number {
  return Number(m.get("RFLAGS"));
}

function int(vector: number): Op {
  return ["Int_imm8", vector];
}

// --- Real mode -----------------------------------------------------------------------

function vectorTable(m: SystemMachine, vector: number): void {
  m.cpu.setDescriptor(REGISTER.IDTR, { base: 0n, limit: 0x3ff, access: 0 });
  m.poke32(vector * 4, 0x900_0010);
}

test("real mode pushes words and clears IF and TF (SDM 22.1.4)", () => {
  m.start("real", [int(0x21), ["Hlt"]], { flags: IF | 2 });
  vectorTable(m, 0x21);
  m.program(0x9010, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.stack(3, 2), [0x8002, 0, IF | 2]);
  assertEquals([m.get("CS"), flags()], [0x900n, 2]);
  m.program(0x9010, [["Iretw"]]);
  m.start("real", [int(0x21), ["Hlt"]], { flags: IF | 2 });
  vectorTable(m, 0x21);
  assertEquals(m.runToHalt(), 0x8002);
  assertEquals([m.get("RSP"), flags()], [0x6000n, IF | 2]);
});

test("real mode: a vector beyond the table's limit is #GP (SDM 22.1.4)", () => {
  m.start("real", [int(0x21)]);
  m.cpu.setDescriptor(REGISTER.IDTR, { base: 0n, limit: 0x86, access: 0 });
  assertEquals(m.fault().vector, GP);
});

Deno.test("real mode: IRETD keeps VM, VIF and VIP (SDM vol. 2, IRET)", () => {
  m.start("real", [
    ["Pushd_imm32", -1],
    ["Pushd_imm32", 0],
    ["Pushd_imm32", 0x8100],
    ["Iretd"],
  ]);
  m.program(0x8100, [["Nopw"], ["Hlt"]]);
  m.run(4);
  assertEquals(flags() & (VM | VIF | VIP), 0);
  assertEquals(flags() & (IOPL | IF), IOPL | IF);
});

// --- Protected mode, same level ------------------------------------------------------

test("an interrupt gate clears IF, a trap gate keeps it (SDM 6.12.1.3)", () => {
  for (const [access, expected] of [[0x8e, 0], [0x8f, IF]] as const) {
    m.start("protected32", [int(0x40)], { flags: IF | NT | 2 });
    m.idt(0x40, { access });
    assertEquals(m.runToHandler(), 0x40);
    assertEquals(flags() & (IF | NT | TF), expected);
    assertEquals(m.stack(3, 4), [AT.CODE + 2, SEL.CODE32, IF | NT | 2]);
  }
});

test("16-bit gates push words (SDM 6.12)", () => {
  m.start("protected32", [int(0x40)]);
  m.idt(0x40, { access: 0x86, offset: 0x5000 });
  m.program(0x5000, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.stack(3, 2), [(AT.CODE + 2) & 0xffff, SEL.CODE32, 2]);
});

test("a fault pushes its error code and RF (SDM 6.13, 18.3.1.1)", () => {
  m.start("protected32", [["Mov_r32_imm32", "EAX", SEL.ABSENT], [
    "Mov_Sreg_r32m16",
    "DS",
    "EAX",
  ]]);
  assertEquals(m.runToHandler(), NP);
  assertEquals(m.stack(4, 4), [
    SEL.ABSENT,
    AT.CODE + 5,
    SEL.CODE32,
    RF | 2,
  ]);
});

test("INT3, INTO and INT1 go behind the instruction (SDM vol. 2, INT n)", () => {
  const cases: [Op, number][] = [[["Int3"], BP], [["Int1"], DB]];
  for (const [op, vector] of cases) {
    m.start("protected32", [op]);
    assertEquals(m.runToHandler(), vector);
    assertEquals(m.stack(3, 4), [AT.CODE + 1, SEL.CODE32, 2]);
  }
  m.start("protected32", [["Into"], ["Hlt"]], { flags: 0x802 });
  assertEquals(m.runToHandler(), OF);
  m.start("protected32", [["Into"], ["Hlt"]]);
  assertEquals(m.runToHalt(), AT.CODE + 1);
});

// --- Inner level -----------------------------------------------------------------------

test("from level 3 the handler has the TSS's stack (SDM 6.12.1)", () => {
  m.start("protected32", [int(0x40)], { cpl: 3, flags: IF | 2 });
  m.idt(0x40, { access: 0xee });
  m.runToHandler();
  assertEquals(m.stack(5, 4), [
    AT.CODE + 2,
    SEL.USER32,
    IF | 2,
    AT.STACK,
    SEL.USER_DATA,
  ]);
  assertEquals(m.get("RSP"), BigInt(AT.STACK0 - 20));
  assertEquals([m.get("CS"), m.get("SS")], [BigInt(SEL.CODE32), 0x10n]);
});

test("IRET goes back to level 3 (SDM 6.12.1)", () => {
  m.start("protected32", [int(0x40), ["Ud2"]], { cpl: 3, flags: IF | 2 });
  m.idt(0x40, { access: 0xee, offset: AT.USER });
  m.program(AT.USER, [["Iretd"]]);
  assertEquals(m.fault().rip, BigInt(AT.CODE + 2));
  assertEquals([m.get("CS"), m.get("SS")], [
    BigInt(SEL.USER32),
    BigInt(SEL.USER_DATA),
  ]);
  assertEquals([m.get("RSP"), flags()], [BigInt(AT.STACK), IF | 2]);
});

test("a conforming handler stays at the level (SDM 6.12.1.1)", () => {
  m.start("protected32", [int(0x40)], { cpl: 3 });
  m.idt(0x40, { access: 0xee, selector: SEL.CONFORMING, offset: AT.USER });
  m.program(AT.USER, [["Ud2"]]);
  assertEquals(m.fault().rip, BigInt(AT.USER));
  assertEquals(m.get("CS"), BigInt(SEL.CONFORMING | 3));
  assertEquals(m.stack(2, 4), [AT.CODE + 2, SEL.USER32]);
});

const V = 0x40;
const gateError = V * 8 + IDT;

function gateCase(
  name: string,
  spec: Partial<GateSpec>,
  vector: number,
  error: number,
  more: Partial<FaultCase> = {},
): FaultCase {
  return {
    name,
    mode: "protected32",
    ops: [int(V)],
    vector,
    error,
    ...more,
    prepare: (m) => {
      m.idt(V, spec);
      more.prepare?.(m);
    },
  };
}

const user = { options: { cpl: 3 } } as const;
const toStack = (selector: number) => ({
  ...user,
  prepare: (m: SystemMachine) => m.poke32(AT.TSS + 8, selector),
});

test("gates are checked, with the vector in the error code (SDM 6.12.1, 6.13)", () => {
  checkFaults(m, [
    gateCase("no gate", { access: 0 }, GP, gateError),
    gateCase("a call gate", { access: 0x8c }, GP, gateError),
    gateCase("absent", { access: 0x0e }, NP, gateError),
    gateCase("level 0 for INT", {}, GP, gateError, user),
    gateCase("target null", { selector: 0 }, GP, 0),
    gateCase("target data", { selector: SEL.DATA }, GP, SEL.DATA),
    gateCase("target outer", { selector: SEL.USER32 }, GP, 0x20),
    gateCase("beyond the limit", { selector: SEL.CODE16 }, GP, 0),
    gateCase("stack null", { access: 0xee }, TS, 0, toStack(0)),
    gateCase("stack of level 3", { access: 0xee }, TS, 0x28, toStack(0x2b)),
    gateCase("stack absent", { access: 0xee }, SS, 0x70, toStack(0x70)),
  ]);
});

test("nothing changes where delivery faults (SDM 6.12)", () => {
  m.start("protected32", [int(V)], { cpl: 3, flags: IF | 2 });
  m.idt(V, { access: 0xee });
  m.poke32(AT.TSS + 8, SEL.ABSENT);
  assertEquals(m.fault().rip, BigInt(AT.CODE));
  assertEquals(m.get("RSP"), BigInt(AT.STACK));
  assertEquals([m.get("CS"), flags()], [BigInt(SEL.USER32), IF | 2]);
});

test("external interrupts set EXT in nested error codes (SDM 6.13)", () => {
  m.start("protected32", [["Hlt"]], { flags: IF | 2 });
  m.idt(V, { access: 0 });
  m.cpu.exceptionExits = 0;
  m.cpu.injectInterrupt(V);
  assertEquals(m.runToHandler(), GP);
  assertEquals(m.stack(1, 4), [gateError | EXT]);
  m.start("protected32", [["Hlt"]], { flags: IF | 2 });
  m.idt(V, { selector: SEL.ABSENT });
  m.cpu.injectInterrupt(V);
  assertEquals(m.runToHandler(), GP);
  assertEquals(m.stack(1, 4), [SEL.ABSENT | EXT]);
});

test("a hardware interrupt may use a gate of level 0 (SDM 6.12.1.2)", () => {
  m.start("protected32", [["Jmp_rel8_32", AT.CODE]], { cpl: 3, flags: IF | 2 });
  m.cpu.injectInterrupt(V);
  assertEquals(m.runToHandler(), V);
});

test("contributory faults become #DF, then shut down (SDM 6.15, table 6-5)", () => {
  const ops: Op[] = [["Mov_r32_imm32", "EAX", SEL.BEYOND], [
    "Mov_Sreg_r32m16",
    "DS",
    "EAX",
  ]];
  m.start("protected32", ops);
  m.idt(GP, { access: 0 });
  assertEquals(m.runToHandler(), DF);
  assertEquals(m.stack(2, 4), [0, AT.CODE + 5]);
  m.start("protected32", ops);
  m.idt(GP, { access: 0 });
  m.idt(DF, { access: 0 });
  const exit = m.run();
  assertEquals(exit.code, EXIT_CODE.SUSPENDED);
  assertEquals("how" in exit && exit.how, SUSPEND.TRIPLEFAULT);
});

// --- Virtual-8086 mode -----------------------------------------------------------------

const VM86_SELECTORS = { ES: 0x111, DS: 0x222, FS: 0x333, GS: 0x444 };

test("from virtual-8086 mode all segments are pushed (SDM 21.3.1.1)", () => {
  m.start("vm86", [int(V)], { flags: IOPL | IF | 2 });
  m.set(VM86_SELECTORS);
  m.idt(V, { access: 0xee });
  m.runToHandler();
  assertEquals(m.stack(9, 4), [
    0x8002,
    0,
    VM | IOPL | IF | 2,
    0x6000,
    0,
    ...Object.values(VM86_SELECTORS),
  ]);
  assertEquals(flags() & (VM | IF), 0);
  assertEquals([m.get("DS"), m.get("GS")], [0n, 0n]);
  assertEquals(m.get("SS"), BigInt(SEL.DATA));
});

test("IRET goes back to virtual-8086 mode (SDM 21.2.3)", () => {
  m.start("vm86", [int(V), ["Ud2"]], { flags: IOPL | IF | 2 });
  m.set(VM86_SELECTORS);
  m.idt(V, { access: 0xee, offset: AT.USER });
  m.program(AT.USER, [["Iretd"]], 32);
  assertEquals(m.fault().rip, 0x8002n);
  assertEquals(flags(), VM | IOPL | IF | 2);
  assertEquals(m.get("ES"), 0x111n);
  assertEquals(m.cpu.getDescriptor(REGISTER.GS), {
    base: 0x4440n,
    limit: 0xffff,
    access: 0xf3,
  });
  assertEquals(m.get("RSP"), 0x6000n);
});

test("virtual-8086 mode needs IOPL 3 and a handler of level 0 (SDM 21.2.7)", () => {
  const vm86 = { mode: "vm86", ops: [int(V)], vector: GP } as const;
  checkFaults(m, [
    { ...vm86, name: "INT below IOPL 3", error: 0 },
    { ...vm86, name: "IRET below IOPL 3", ops: [["Iretw"]], error: 0 },
    { ...vm86, name: "CLI below IOPL 3", ops: [["Cli"]], error: 0 },
    { ...vm86, name: "STI below IOPL 3", ops: [["Sti"]], error: 0 },
    {
      ...vm86,
      name: "a conforming handler",
      error: SEL.CONFORMING,
      options: { flags: IOPL | 2 },
      prepare: (m) => m.idt(V, { access: 0xee, selector: SEL.CONFORMING }),
    },
  ]);
  // INT3 does not look at IOPL.
  m.start("vm86", [["Int3"]]);
  m.idt(BP, { access: 0xee });
  assertEquals(m.runToHandler(), BP);
});

function redirected(m: SystemMachine, bit: 0 | 1): void {
  m.memory.bytes.fill(0, AT.TSS2, AT.TSS2 + 0x100);
  m.view.setUint16(AT.TSS2 + 102, 0x90, true);
  m.memory.bytes[AT.TSS2 + 0x70 + (V >> 3)] = bit << (V & 7);
  m.poke32(AT.TSS2 + 4, AT.STACK0);
  m.poke32(AT.TSS2 + 8, SEL.DATA);
  m.cpu.setDescriptor(REGISTER.TR, {
    base: BigInt(AT.TSS2),
    limit: 0x90,
    access: 0x8b,
  });
  m.poke32(V * 4, 0x900_0010);
  m.program(0x9010, [["Ud2"]]);
}

test("VME: a clear bit redirects INT n to the 8086 handler (SDM 21.3.3.4)", () => {
  m.start("vm86", [int(V)], { cr4: CR4.VME, flags: VIF | 2 });
  redirected(m, 0);
  assertEquals(m.fault().rip, 0x10n);
  assertEquals(m.stack(3, 2), [0x8002, 0, IOPL | IF | 2]);
  assertEquals(flags() & (VIF | VM), VM);
  m.start("vm86", [int(V)], { cr4: CR4.VME, flags: IOPL | IF | 2 });
  redirected(m, 0);
  assertEquals(m.fault().rip, 0x10n);
  assertEquals(m.stack(3, 2), [0x8002, 0, IOPL | IF | 2]);
  assertEquals(flags() & IF, 0);
});

test("VME: a set bit goes to the gate, with IOPL 3 only (SDM 21.3.3)", () => {
  m.start("vm86", [int(V)], { cr4: CR4.VME });
  redirected(m, 1);
  assertEquals(m.fault().vector, GP);
  m.start("vm86", [int(V)], { cr4: CR4.VME, flags: IOPL | 2 });
  redirected(m, 1);
  m.idt(V, { access: 0xee });
  assertEquals(m.runToHandler(), V);
});

test("VME and PVI: CLI, STI and IRET work on VIF (SDM 21.3.2, 21.4)", () => {
  m.start("vm86", [["Sti"]], { cr4: CR4.VME });
  m.run(1);
  assertEquals(flags(), VM | VIF | 2);
  m.start("vm86", [["Cli"]], { cr4: CR4.VME, flags: VIF | IF | 2 });
  m.run(1);
  assertEquals(flags(), VM | IF | 2);
  const frame: Op[] = [
    ["Push_imm16", IF | IOPL | 2],
    ["Push_imm16", 0],
    ["Push_imm16", 0x8100],
    ["Iretw"],
  ];
  m.start("vm86", frame, { cr4: CR4.VME });
  m.run(4);
  assertEquals([flags(), m.get("RIP")], [VM | VIF | 2, 0x8100n]);
  const PVI = 2;
  m.start("protected32", [["Sti"]], { cpl: 3, cr4: PVI });
  m.run(1);
  assertEquals(flags(), VIF | 2);
  checkFaults(m, [{
    name: "STI with VIP",
    mode: "protected32",
    ops: [["Sti"]],
    vector: GP,
    error: 0,
    options: { cpl: 3, cr4: PVI, flags: VIP | 2 },
  }, {
    name: "IRET with VIP",
    mode: "vm86",
    ops: frame,
    vector: GP,
    error: 0,
    options: { cr4: CR4.VME, flags: VIP | 2 },
  }, {
    name: "CLI above IOPL",
    mode: "protected32",
    ops: [["Cli"]],
    vector: GP,
    error: 0,
    options: { cpl: 3 },
  }]);
});

// --- Long mode ---------------------------------------------------------------------------

test("64-bit gates push SS:RSP and align the stack (SDM 6.14.2)", () => {
  m.start("long", [int(V)], { flags: IF | 2, rsp: AT.STACK - 3 });
  assertEquals(m.runToHandler(), V);
  assertEquals(m.get("RSP"), BigInt(AT.STACK - 16 - 40));
  assertEquals(m.stack(5, 8), [
    AT.CODE + 2,
    SEL.CODE64,
    IF | 2,
    AT.STACK - 3,
    SEL.DATA,
  ]);
  assertEquals([flags(), m.get("SS")], [2, BigInt(SEL.DATA)]);
});

test("from level 3 SS becomes null (SDM 6.14.4)", () => {
  for (const mode of ["long", "compat"] as const) {
    m.start(mode, [int(V)], { cpl: 3 });
    m.idt(V, { access: 0xee });
    assertEquals(m.runToHandler(), V);
    assertEquals(m.get("RSP"), BigInt(AT.STACK0 - 40));
    assertEquals([m.get("SS"), m.get("CS")], [0n, BigInt(SEL.CODE64)]);
    const code = mode === "long" ? SEL.USER64 : SEL.USER32;
    assertEquals(m.stack(2, 8)[1], code);
  }
});

test("IRETQ goes back to 64-bit and compatibility mode (SDM 6.14.3)", () => {
  for (const mode of ["long", "compat"] as const) {
    m.start(mode, [int(V), ["Ud2"]], { cpl: 3, flags: IF | 2 });
    m.idt(V, { access: 0xee, offset: AT.USER });
    m.program(AT.USER, [["Iretq"]], 64);
    assertEquals(m.fault().rip, BigInt(AT.CODE + 2));
    assertEquals(m.get("RSP"), BigInt(AT.STACK));
    assertEquals(m.get("SS"), BigInt(SEL.USER_DATA));
    assertEquals(flags(), IF | 2);
  }
});

test("the interrupt stack table overrides the stack (SDM 6.14.5)", () => {
  m.start("long", [["Ud2"]]);
  m.idt(UD, { extra: 3 });
  assertEquals(m.runToHandler(), UD);
  assertEquals(m.get("RSP"), BigInt(AT.IST + 0x300 - 40));
  assertEquals(m.get("SS"), BigInt(SEL.DATA));
  // Nested at the same level without IST the stack goes on.
  m.start("long", [["Ud2"]]);
  m.idt(UD, { extra: 3, offset: AT.USER });
  m.program(AT.USER, [int(V)]);
  assertEquals(m.runToHandler(), V);
  assertEquals(m.get("RSP"), BigInt(AT.IST + 0x300 - 40 - 8 - 40));
});

test("an error code makes the frame six words (SDM 6.14.2)", () => {
  m.start("long", [["Mov_r32_imm32", "EAX", SEL.BEYOND], [
    "Mov_Sreg_r32m16",
    "DS",
    "EAX",
  ]]);
  assertEquals(m.runToHandler(), GP);
  assertEquals(m.stack(4, 8), [SEL.BEYOND, AT.CODE + 5, SEL.CODE64, RF | 2]);
  assertEquals(m.get("RSP"), BigInt(AT.STACK - 48));
});

test("64-bit gates are checked (SDM 6.14.1, vol. 2 INT n)", () => {
  const long = { mode: "long" } as const;
  checkFaults(m, [
    gateCase("task gate", { access: 0x85 }, GP, gateError, long),
    gateCase("16-bit gate", { access: 0x86 }, GP, gateError, long),
    gateCase("32-bit code", { selector: SEL.CODE32 }, GP, SEL.CODE32, long),
    gateCase("offset not canonical", {}, GP, 0, {
      ...long,
      prepare: (m) => m.poke64(AT.IDT + V * 16 + 8, 0x8000n),
    }),
    gateCase("TSS too short", { extra: 7 }, TS, SEL.TSS, {
      ...long,
      prepare: (m) =>
        m.cpu.setDescriptor(REGISTER.TR, {
          base: BigInt(AT.TSS),
          limit: 0x5a,
          access: 0x8b,
        }),
    }),
    gateCase("stack not canonical", { extra: 1 }, SS, 0, {
      ...long,
      prepare: (m) => m.poke64(AT.TSS + 36, 0x8000_0000_0100n),
    }),
    gateCase("stack not mapped", { extra: 1 }, PF, 2, {
      ...long,
      prepare: (m) => m.poke64(AT.TSS + 36, BigInt(AT.UNMAPPED + 0x100)),
    }),
    gateCase("beyond the table", {}, GP, gateError, {
      ...long,
      prepare: (m) =>
        m.cpu.setDescriptor(REGISTER.IDTR, {
          base: BigInt(AT.IDT),
          limit: V * 16 + 14,
          access: 0,
        }),
    }),
  ]);
});

test("#PF in delivering #PF becomes #DF on its own stack (SDM 6.15)", () => {
  m.start("long", [["Mov_r8_rm8", "AL", { disp: AT.UNMAPPED }]], {
    rsp: AT.UNMAPPED + 0x100,
  });
  m.idt(DF, { extra: 2 });
  assertEquals(m.runToHandler(), DF);
  assertEquals(m.get("RSP"), BigInt(AT.IST + 0x200 - 48));
  assertEquals(m.get("CR2"), BigInt(AT.UNMAPPED + 0xf8));
});

const iretFrame = (
  words: readonly number[],
  code: "Iretq" | "Iretd" = "Iretq",
): Op[] => [
  ...words.toReversed().map((word): Op => ["Pushq_imm32", word]),
  [code],
];

test("IRETQ checks its frame (SDM vol. 2, IRET)", () => {
  const base = { mode: "long", vector: GP } as const;
  checkFaults(m, [
    {
      ...base,
      name: "NT",
      ops: [["Iretq"]],
      error: 0,
      options: { flags: NT | 2 },
    },
    {
      ...base,
      name: "null CS",
      ops: iretFrame([AT.USER, 0, 2, AT.STACK, SEL.DATA]),
      error: 0,
    },
    {
      ...base,
      name: "null SS for level 3",
      ops: iretFrame([AT.USER, SEL.USER64, 2, AT.STACK, 3]),
      error: 0,
    },
    {
      ...base,
      name: "null SS for compatibility mode",
      ops: iretFrame([AT.USER, SEL.CODE32, 2, AT.STACK, 0]),
      error: 0,
    },
    {
      ...base,
      name: "SS of another level",
      ops: iretFrame([AT.USER, SEL.USER64, 2, AT.STACK, SEL.DATA]),
      error: SEL.DATA,
    },
  ]);
  m.start("long", iretFrame([AT.USER, SEL.CODE64, 2, AT.STACK - 8, 0]));
  m.program(AT.USER, [["Hlt"]]);
  assertEquals(m.runToHalt(), AT.USER);
  assertEquals([m.get("SS"), m.get("RSP")], [0n, BigInt(AT.STACK - 8)]);
});

test("IRET loads the flags that its level may change (SDM vol. 2, IRET)", () => {
  const all = 0x3f_7ed5;
  const kernel = iretFrame([AT.USER, SEL.CODE64, all, AT.STACK, SEL.DATA]);
  m.start("long", kernel);
  m.program(AT.USER, [["Hlt"]]);
  m.runToHalt();
  // RF ends with the next instruction; VM cannot be set in long mode.
  assertEquals(flags(), (all | 2) & ~(RF | VM));
  m.start(
    "protected32",
    [
      ["Pushd_imm32", all],
      ["Pushd_imm32", SEL.USER32],
      ["Pushd_imm32", AT.USER],
      ["Iretd"],
    ],
    { cpl: 3 },
  );
  m.run(4);
  const forbidden = IF | IOPL | VIF | VIP | VM | RF;
  assertEquals(flags(), (all | 2) & ~forbidden);
});

// Below 128 instructions the engine looks for events after each one.
const STEPS = 100;

function nmiTwice(limit: number): void {
  m.start("long", [["Nopd"], ["Nopd"], ["Nopd"], ["Hlt"]]);
  m.idt(VECTOR.NMI, { offset: AT.USER });
  m.program(AT.USER, [["Nopd"], ["Hlt"], ["Iretq"]]);
  m.cpu.injectNmi();
  assertEquals(m.runToHalt(limit), AT.USER + 1);
  m.cpu.injectNmi();
  // Still inside the handler: the second waits for IRET.
  assertEquals(m.runToHalt(limit), AT.USER + 1);
  assertEquals(m.stack(1, 8), [AT.CODE]);
}

Deno.test("IRET unblocks NMIs (SDM 6.7.1)", () => nmiTwice(STEPS));

test("a segment that IRET leaves behind becomes null (SDM vol. 2, IRET)", () => {
  m.start(
    "protected32",
    [
      ["Pushd_imm32", SEL.USER_DATA],
      ["Pushd_imm32", AT.STACK],
      ["Pushd_imm32", 2],
      ["Pushd_imm32", SEL.USER32],
      ["Pushd_imm32", AT.USER],
      ["Iretd"],
    ],
  );
  m.program(AT.USER, [["Ud2"]]);
  assertEquals(m.fault().rip, BigInt(AT.USER));
  assertEquals([m.get("DS"), m.get("GS")], [0n, 0n]);
});

// --- The interrupt flag ------------------------------------------------------------------

function interruptAfterSti(limit: number): void {
  let waiting = true;
  const source = {
    pending: () => waiting,
    acknowledge: () => {
      waiting = false;
      return V;
    },
  };
  const n = new SystemMachine({ interrupts: source });
  n.start("long", [["Sti"], ["Inc_rm32", "EAX"], ["Inc_rm32", "EAX"], ["Hlt"]]);
  n.runToHalt(limit);
  assertEquals(n.get("RAX"), 1n);
  assertEquals(n.stack(1, 8), [AT.CODE + 3]);
}

Deno.test("STI takes effect after the next instruction (SDM vol. 2, STI)", () => {
  interruptAfterSti(STEPS);
});

Deno.test(
  "what waits is taken at once at full speed, too (SDM 6.8)",
  () => {
    nmiTwice(1000);
    interruptAfterSti(1000);
  },
);

Deno.test("STI with IF set holds nothing back (SDM vol. 2, STI)", () => {
  m.start("long", [["Sti"], ["Hlt"]], { flags: IF | 2 });
  m.run(1);
  assertEquals(m.get("INTR_SHADOW"), 0n);
  m.start("long", [["Sti"], ["Hlt"]]);
  m.run(1);
  assertEquals(m.get("INTR_SHADOW"), 1n);
});

test("level 3 may not see level 0's handlers through the jump cache (SDM 4.6)", () => {
  // The same address is run at both levels; only level 0 may fetch it.
  const tables = m.identity();
  const target = 0x60_0000 + 0x5000;
  m.start("long", [
    ["Call_rel32_64", target],
    ...iretFrame([AT.USER, SEL.USER64, 2, AT.STACK, SEL.USER_DATA]),
  ], { tables });
  tables.map(0x60_0000, 0, 3, 2 << 20);
  m.program(0x5000, [["Retnq"]]);
  m.program(AT.USER, [["Call_rel32_64", target]]);
  const { vector, error, rip } = m.fault();
  assertEquals([vector, error, rip], [PF, 5, BigInt(target)]);
});

// --- Odds and ends -----------------------------------------------------------------------

Deno.test("a 16-bit stack keeps the upper half of ESP (SDM 6.12.1, 3.4.5)", () => {
  m.start("protected16", [int(V)], { rsp: 0x1234_6000 });
  m.idt(V, { access: 0x86, selector: SEL.CODE16, offset: 0x5000 });
  m.program(0x5000, [["Iretw"]]);
  m.run(1);
  assertEquals(m.get("RSP"), 0x1234_5ffan);
  m.run(1);
  assertEquals([m.get("RSP"), m.get("RIP")], [0x1234_6000n, 0x8002n]);
});

test("a stack wraps at its size, word by word (SDM vol. 1, 6.2.3)", () => {
  m.start("protected16", [int(V)], { rsp: 2 });
  m.idt(V, { access: 0x86, selector: SEL.CODE16, offset: 0x5000 });
  m.program(0x5000, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("RSP"), 0xfffcn);
  assertEquals(m.view.getUint16(0, true), 2);
  assertEquals(m.view.getUint16(0xfffe, true), SEL.CODE16);
});

test("compatibility mode returns to its level without the stack (SDM vol. 2, IRET)", () => {
  m.start("compat", [
    ["Pushd_imm32", 2],
    ["Pushd_imm32", SEL.CODE32],
    ["Pushd_imm32", AT.USER],
    ["Iretd"],
  ]);
  m.program(AT.USER, [["Hlt"]]);
  assertEquals(m.runToHalt(), AT.USER);
  assertEquals(m.get("RSP"), BigInt(AT.STACK));
});

Deno.test("VM in the image counts at level 0 only (SDM vol. 2, IRET)", () => {
  m.start("protected32", [
    ["Pushd_imm32", VM | 2],
    ["Pushd_imm32", SEL.USER32],
    ["Pushd_imm32", AT.USER],
    ["Iretd"],
  ], { cpl: 3 });
  m.run(4);
  assertEquals([flags(), m.get("RIP")], [2, BigInt(AT.USER)]);
});

test("level 0's instructions are #GP(0) in virtual-8086 mode (SDM 21.2.8)", () => {
  const ops: Op[] = [
    ["Hlt"],
    ["Lgdt_m1632_16", { disp: 0x5000 }],
    ["Lmsw_rm16", "AX"],
    ["Clts"],
    ["Mov_r32_cr", "EAX", "CR0"],
    ["Mov_r32_dr", "EAX", "DR7"],
    ["Rdmsr"],
    ["Invd"],
  ];
  checkFaults(
    m,
    ops.map((op) => ({
      name: op[0],
      mode: "vm86",
      ops: [op],
      vector: GP,
      error: 0,
      options: { flags: IOPL | 2 },
    })),
  );
});

Deno.test("RF lets the instruction at a breakpoint run (SDM 18.3.1.1)", () => {
  m.start("long", [["Nopd"], ["Inc_rm32", "EAX"], ["Hlt"]]);
  m.idt(DB, { offset: AT.USER });
  m.program(AT.USER, [
    ["Inc_rm32", "EBX"],
    ["Or_rm32_imm32", { disp: 16, base: "RSP" }, RF],
    ["Iretq"],
  ]);
  m.set({ DR0: AT.CODE + 1, DR7: 0x401, RAX: 0, RBX: 0 });
  m.runToHalt();
  assertEquals([m.get("RAX"), m.get("RBX")], [1n, 1n]);
  assertEquals(flags() & RF, 0);
  assertEquals(m.get("DR6") & 1n, 1n);
});

test("INT is not traced, nor is its handler (SDM 18.3.1.4)", () => {
  m.start("long", [int(V), ["Nopd"], ["Hlt"]], { flags: TF | 2 });
  m.idt(V, { offset: AT.USER });
  m.program(AT.USER, [["Nopd"], ["Iretq"]]);
  const handler = AT.USER + 0x100;
  m.idt(DB, { offset: handler });
  m.program(handler, [["Inc_rm32", "EBX"], ["Iretq"]]);
  m.set({ RBX: 0 });
  m.runToHalt();
  assertEquals([m.get("RBX"), flags() & TF], [1n, TF]);
});

Deno.test("MOV SS holds an interrupt back, too (SDM 6.8.3)", () => {
  let waiting = true;
  const interrupts = {
    pending: () => waiting,
    acknowledge: () => {
      waiting = false;
      return V;
    },
  };
  const n = new SystemMachine({ interrupts });
  n.start("protected32", [
    ["Mov_r32_imm32", "EAX", SEL.DATA],
    ["Mov_Sreg_r32m16", "SS", "EAX"],
    ["Mov_r32_imm32", "ESP", AT.STACK0],
    ["Hlt"],
  ], { flags: 2 });
  n.run(1);
  n.set({ RFLAGS: IF | 2 });
  waiting = false;
  n.run(1);
  waiting = true;
  n.runToHalt(STEPS);
  assertEquals(n.stack(1, 4), [AT.CODE + 12]);
  assertEquals(n.get("RSP"), BigInt(AT.STACK0 - 12));
});

test("external interrupts reach real mode, virtual-8086 mode and level 3 (SDM 6.12)", () => {
  m.start("real", [["Hlt"]], { flags: IF | 2 });
  vectorTable(m, V);
  m.program(0x9010, [["Hlt"]]);
  m.cpu.injectInterrupt(V);
  m.runToHalt();
  assertEquals(m.stack(3, 2), [0x8000, 0, IF | 2]);
  m.start("vm86", [["Nopw"]], { flags: IF | 2 });
  m.cpu.injectInterrupt(V);
  assertEquals(m.runToHandler(), V);
  assertEquals(m.stack(3, 4), [0x8000, 0, VM | IF | 2]);
  m.start("compat", [["Nopd"]], { cpl: 3, flags: IF | 2 });
  m.cpu.injectInterrupt(V);
  assertEquals(m.runToHandler(), V);
  assertEquals(m.stack(2, 8), [AT.CODE, SEL.USER32]);
});

test("a handler's page is fetched at its own level (SDM 4.6)", () => {
  const tables = m.identity();
  tables.map(0x60_0000, 0, 3, 2 << 20);
  m.start("long", [int(V)], { cpl: 3, tables });
  m.idt(V, { access: 0xee, offset: 0x60_5000 });
  m.program(0x5000, [["Hlt"]]);
  assertEquals(m.runToHalt(), 0x60_5000);
});
