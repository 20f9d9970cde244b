// Far transfers, against Intel SDM vol. 2 (CALL, JMP, RET) and vol. 3, 5.8.

import { assertEquals } from "@std/assert";
import { REGISTER } from "./registers.ts";
import { VECTOR } from "./runtime/traps.ts";
import { testTiers } from "./testing.ts";
import {
  AT,
  checkFaults,
  type FaultCase,
  gate,
  type Op,
  segment,
  SEL,
  SystemMachine,
} from "./system_testing.ts";

const { GP, NP, SS, TS } = VECTOR;
let m: SystemMachine;
const FAR = 0x2_0000;
const POINTER = 0x5000;

// Every test has a machine of its own in each tier.
function test(name: string, body: () => void): void {
  testTiers(name, () => {
    m = new SystemMachine();
    body();
  });
}

function cs(): number {
  return Number(m.get("CS"));
}

test("real mode: JMP, CALL and RET far (SDM vol. 2, CALL)", () => {
  m.start("real", [["Call_ptr1616", 0x900, 0x10], ["Hlt"]]);
  m.program(0x9010, [["Jmp_ptr1616", 0x910, 0x20]]);
  m.program(0x9120, [["Retfw"]]);
  assertEquals(m.runToHalt(), 0x8005);
  assertEquals([cs(), m.get("RSP")], [0, 0x6000n]);
  m.start("real", [["Call_m1616", { disp: POINTER }]]);
  m.poke32(POINTER, 0x900_0010);
  m.program(0x9010, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.cpu.getDescriptor(REGISTER.CS).base, 0x9000n);
  assertEquals(m.stack(2, 2), [0x8004, 0]);
  m.start("real", [["Call_ptr1632", 0x900, 0x10]]);
  m.runToHalt();
  assertEquals(m.stack(2, 4), [0x8008, 0]);
  // RET releases its immediate from the stack.
  m.start("real", [["Push_imm16", 0], ["Push_imm16", 0x8020], [
    "Retfw_imm16",
    6,
  ]]);
  m.program(0x8020, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("RSP"), 0x6006n);
});

test("real mode checks the target against CS's limit (SDM vol. 2, JMP)", () => {
  checkFaults(m, [{
    name: "beyond 64 KiB",
    mode: "real",
    ops: [["Jmp_ptr1632", 0x900, 0x1_0000]],
    vector: GP,
    error: 0,
  }]);
});

test("virtual-8086 mode transfers as real mode does (SDM 21.2)", () => {
  m.start("vm86", [["Jmp_ptr1616", 0x900, 0x10]]);
  m.program(0x9010, [["Ud2"]]);
  assertEquals(m.fault().rip, 0x10n);
  const { base, limit, access } = m.cpu.getDescriptor(REGISTER.CS);
  assertEquals([base, limit, access], [0x9000n, 0xffff, 0xf3]);
});

test("protected mode: to another code segment and back (SDM 5.8.1)", () => {
  m.start("protected32", [
    ["Call_ptr1632", SEL.CODE16, 0x8000],
    ["Hlt"],
  ]);
  // 32-bit operands in 16-bit code: RETFD.
  m.program(0x8000, [["Mov_r16_imm16", "AX", 0x1234], ["Retfd"]], 16);
  m.runToHalt();
  assertEquals(m.get("RAX"), 0x1234n);
  assertEquals([cs(), m.get("RSP")], [SEL.CODE32, BigInt(AT.STACK)]);
  assertEquals(m.accessOf(SEL.CODE16), 0x9b);
});

test("conforming code keeps the level (SDM 5.8.1.2)", () => {
  m.start("protected32", [["Jmp_ptr1632", SEL.CONFORMING, FAR]], { cpl: 3 });
  m.program(FAR, [["Ud2"]]);
  assertEquals(m.fault().rip, BigInt(FAR));
  assertEquals(cs(), SEL.CONFORMING | 3);
});

const direct = (selector: number, offset = FAR): readonly Op[] => [[
  "Jmp_ptr1632",
  selector,
  offset,
]];

const TRANSFER_FAULTS: readonly FaultCase[] = ([
  ["null", direct(3), GP, 0],
  ["beyond the table", direct(SEL.BEYOND), GP, SEL.BEYOND],
  ["a data segment", direct(SEL.DATA), GP, SEL.DATA],
  ["code of level 3", direct(SEL.USER32), GP, 0x20],
  ["an LDT", direct(SEL.LDT), GP, SEL.LDT],
  ["beyond the limit", direct(SEL.CODE16, 0x1_0000), GP, 0],
  ["a busy TSS", direct(SEL.FREE), GP, SEL.FREE],
] as const).map(([name, ops, vector, error]) => ({
  name,
  ops,
  vector,
  error,
  mode: "protected32",
  prepare: (m: SystemMachine) => {
    m.descriptor(
      SEL.FREE,
      segment({ base: AT.TSS2, limit: 0x67, access: 0x8b, flags: 0 }),
    );
  },
}));

test("far transfers raise #GP and #NP with the selector (SDM vol. 2, JMP)", () => {
  checkFaults(m, TRANSFER_FAULTS);
  const absent = (m: SystemMachine) =>
    m.descriptor(SEL.FREE, segment({ access: 0x1a }));
  checkFaults(m, [{
    name: "absent code",
    mode: "protected32",
    ops: direct(SEL.FREE),
    vector: NP,
    error: SEL.FREE,
    prepare: absent,
  }, {
    name: "level 0 from level 3",
    mode: "protected32",
    ops: direct(SEL.CODE32),
    vector: GP,
    error: SEL.CODE32,
    options: { cpl: 3 },
  }, {
    name: "a stack without room",
    mode: "protected32",
    ops: [["Call_ptr1632", SEL.CODE32, FAR]],
    vector: SS,
    error: 0,
    prepare: (m) => {
      m.cpu.setDescriptor(REGISTER.SS, {
        base: 0n,
        limit: 0x8ff9,
        access: 0x4093,
      });
    },
  }, {
    name: "L and D in long mode",
    mode: "long",
    ops: [["Jmp_m1632", { disp: POINTER }]],
    vector: GP,
    error: SEL.FREE,
    prepare: (m) => {
      m.poke32(POINTER, FAR);
      m.poke32(POINTER + 4, SEL.FREE);
      m.descriptor(SEL.FREE, segment({ access: 0x9a, flags: 0xe }));
    },
  }]);
});

// --- Call gates --------------------------------------------------------------------

function callGate(
  m: SystemMachine,
  selector: number,
  access: number,
  extra = 0,
): void {
  const offset = FAR;
  m.descriptor(SEL.FREE, gate({ selector, offset, access, extra }), 0n);
}

test("a call gate to the same level ignores the offset given (SDM 5.8.3)", () => {
  m.start("protected32", [["Call_ptr1632", SEL.FREE, 0x1234_5678], ["Hlt"]]);
  callGate(m, SEL.CODE32, 0x8c);
  m.program(FAR, [["Mov_r32_imm32", "EBX", 7], ["Retfd"]]);
  m.runToHalt();
  assertEquals(m.get("RBX"), 7n);
});

const PUSHES: readonly Op[] = [
  ["Pushd_imm32", 0x1111],
  ["Pushd_imm32", 0x2222],
  ["Call_ptr1632", SEL.FREE | 3, 0],
];

test("a 32-bit gate switches stacks and copies parameters (SDM 5.8.5)", () => {
  m.start("protected32", [...PUSHES, ["Ud2"]], { cpl: 3 });
  callGate(m, SEL.CODE32, 0xec, 2);
  m.program(FAR, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("RSP"), BigInt(AT.STACK0 - 24));
  assertEquals(m.stack(6, 4), [
    AT.CODE + 17,
    SEL.USER32,
    0x2222,
    0x1111,
    AT.STACK - 8,
    SEL.USER_DATA,
  ]);
  assertEquals([cs(), m.get("SS")], [SEL.CODE32, BigInt(SEL.DATA)]);
  assertEquals(m.cpu.getDescriptor(REGISTER.SS).access, 0xc093);
});

test("a 16-bit gate pushes words (SDM 5.8.5)", () => {
  m.start("protected32", [["Push_imm16", 0x1234], [
    "Call_ptr1632",
    SEL.FREE | 3,
    0,
  ]], { cpl: 3 });
  m.descriptor(
    SEL.FREE,
    gate({ selector: SEL.CODE32, offset: 0x5550, access: 0xe4, extra: 1 }),
  );
  m.program(0x5550, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.stack(5, 2), [
    (AT.CODE + 11) & 0xffff,
    SEL.USER32,
    0x1234,
    AT.STACK - 2,
    SEL.USER_DATA,
  ]);
});

test("RET to an outer level pops the stack and drops segments (SDM 5.8.6)", () => {
  m.start("protected32", [...PUSHES, ["Ud2"]], { cpl: 3 });
  callGate(m, SEL.CODE32, 0xec, 2);
  m.program(FAR, [
    ["Mov_r32_imm32", "EAX", SEL.DATA],
    ["Mov_Sreg_r32m16", "DS", "EAX"],
    ["Retfd_imm16", 8],
  ]);
  assertEquals(m.fault().rip, BigInt(AT.CODE + 17));
  assertEquals([cs(), m.get("SS")], [SEL.USER32, BigInt(SEL.USER_DATA)]);
  assertEquals(m.get("RSP"), BigInt(AT.STACK));
  assertEquals(m.get("DS"), 0n);
  assertEquals(m.get("ES"), BigInt(SEL.USER_DATA));
  assertEquals(m.cpu.getDescriptor(REGISTER.DS).access, 0x10000);
});

test("a 64-bit gate takes its stack from the TSS (SDM 5.8.3.1, 5.8.5.1)", () => {
  m.start("long", [["Call_m1632", { disp: POINTER }], ["Ud2"]], { cpl: 3 });
  callGate(m, SEL.CODE64, 0xec);
  m.poke32(POINTER + 4, SEL.FREE | 3);
  m.program(FAR, [["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("RSP"), BigInt(AT.STACK0 - 32));
  assertEquals(m.stack(4, 8), [
    AT.CODE + 7,
    SEL.USER64,
    AT.STACK,
    SEL.USER_DATA,
  ]);
  assertEquals([cs(), m.get("SS")], [SEL.CODE64, 0n]);
  m.program(FAR, [["Retfq"]]);
  m.start("long", [["Call_m1632", { disp: POINTER }], ["Ud2"]], { cpl: 3 });
  callGate(m, SEL.CODE64, 0xec);
  assertEquals(m.fault().rip, BigInt(AT.CODE + 7));
  assertEquals(cs(), SEL.USER64);
  assertEquals(m.get("RSP"), BigInt(AT.STACK));
});

const gateCase = (
  name: string,
  vector: number,
  error: number,
  prepare: (m: SystemMachine) => void,
  options: FaultCase["options"] = { cpl: 3 },
): FaultCase => ({
  name,
  mode: "protected32",
  ops: [["Call_ptr1632", SEL.FREE | 3, 0]],
  vector,
  error,
  options,
  prepare,
});

test("call gates check themselves, their code and the stack (SDM 5.8.4, 5.8.5)", () => {
  const stack = (selector: number) => (m: SystemMachine) => {
    callGate(m, SEL.CODE32, 0xec);
    m.poke32(AT.TSS + 8, selector);
  };
  checkFaults(m, [
    gateCase(
      "gate of level 0",
      GP,
      SEL.FREE,
      (m) => callGate(m, SEL.CODE32, 0x8c),
    ),
    gateCase("gate absent", NP, SEL.FREE, (m) => callGate(m, SEL.CODE32, 0x6c)),
    gateCase("target null", GP, 0, (m) => callGate(m, 0, 0xec)),
    gateCase("target data", GP, SEL.DATA, (m) => callGate(m, SEL.DATA, 0xec)),
    gateCase(
      "target beyond",
      GP,
      SEL.BEYOND,
      (m) => callGate(m, SEL.BEYOND, 0xec),
    ),
    gateCase("TSS too short", TS, SEL.TSS, (m) => {
      callGate(m, SEL.CODE32, 0xec);
      m.cpu.setDescriptor(REGISTER.TR, {
        base: BigInt(AT.TSS),
        limit: 8,
        access: 0x8b,
      });
    }),
    gateCase("stack null", TS, 0, stack(0)),
    gateCase("stack beyond", TS, SEL.BEYOND, stack(SEL.BEYOND)),
    gateCase("stack of another level", TS, 0x28, stack(SEL.USER_DATA)),
    gateCase("stack read-only", TS, SEL.READ_ONLY, stack(SEL.READ_ONLY)),
    gateCase("stack absent", SS, SEL.ABSENT, stack(SEL.ABSENT)),
    gateCase("new stack without room", SS, SEL.FREE2, (m) => {
      stack(SEL.FREE2)(m);
      m.descriptor(
        SEL.FREE2,
        segment({ limit: AT.STACK0 - 8, access: 0x92, flags: 4 }),
      );
    }),
  ]);
});

test("long mode has 64-bit call gates alone (SDM 5.8.3.1)", () => {
  const base = {
    mode: "long",
    ops: [["Call_m1632", { disp: POINTER }]],
    vector: GP,
    options: { cpl: 3 },
  } as const;
  const to = (access: number, selector: number, high = 0n) =>
  (
    m: SystemMachine,
  ) => {
    m.poke32(POINTER + 4, SEL.FREE | 3);
    const offset = FAR;
    m.descriptor(SEL.FREE, gate({ selector, offset, access }), high);
  };
  checkFaults(m, [
    { ...base, name: "16-bit gate", error: SEL.FREE, prepare: to(0xe4, 0x18) },
    { ...base, name: "task gate", error: SEL.FREE, prepare: to(0xe5, 0x50) },
    {
      ...base,
      name: "32-bit code",
      error: SEL.CODE32,
      prepare: to(0xec, SEL.CODE32),
    },
    {
      ...base,
      name: "offset not canonical",
      error: 0,
      prepare: to(0xec, SEL.CODE64, 0x8000n),
    },
    {
      ...base,
      name: "second type field",
      error: SEL.FREE,
      prepare: to(0xec, SEL.CODE64, 1n << 40n),
    },
  ]);
});

// --- RET faults and long mode --------------------------------------------------------

const returning = (selector: number, offset = FAR): readonly Op[] => [
  ["Pushd_imm32", selector],
  ["Pushd_imm32", offset],
  ["Retfd"],
];

test("RET checks its target (SDM vol. 2, RET)", () => {
  const base = { mode: "protected32", vector: GP } as const;
  checkFaults(m, [
    { ...base, name: "null", ops: returning(0), error: 0 },
    { ...base, name: "data", ops: returning(SEL.DATA), error: SEL.DATA },
    {
      ...base,
      name: "RPL and DPL differ",
      ops: returning(SEL.CODE32 | 3),
      error: SEL.CODE32,
    },
    {
      ...base,
      name: "inwards",
      ops: returning(SEL.CODE32),
      error: SEL.CODE32,
      options: { cpl: 3 },
    },
    {
      ...base,
      name: "outer stack of level 0",
      ops: [
        ["Pushd_imm32", SEL.DATA],
        ["Pushd_imm32", 0],
        ...returning(
          SEL.USER32,
        ),
      ],
      error: SEL.DATA,
    },
    {
      ...base,
      name: "outer stack null",
      ops: [["Pushd_imm32", 0], ["Pushd_imm32", 0], ...returning(SEL.USER32)],
      error: 0,
    },
  ]);
  assertEquals(m.get("RSP"), BigInt(AT.STACK - 16));
});

test("64-bit code returns to compatibility mode and back (SDM 5.8.1, vol. 2 RET)", () => {
  m.start("long", [
    ["Pushq_imm32", SEL.CODE32],
    ["Pushq_imm32", FAR],
    ["Retfq"],
  ]);
  m.program(FAR, [
    ["Mov_r32_imm32", "EBX", 0x1234_5678],
    ["Jmp_ptr1632", SEL.CODE64, FAR + 0x100],
  ], 32);
  m.program(FAR + 0x100, [["Mov_r64_imm64", "RCX", 0x1_0000_0001], ["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("RBX"), 0x1234_5678n);
  assertEquals(m.get("RCX"), 0x1_0000_0001n);
  assertEquals(m.get("RSP"), BigInt(AT.STACK));
});

test("CALL m16:64 takes a 64-bit offset on Intel's processors (SDM vol. 2, CALL)", () => {
  const intel = new SystemMachine({ cpuid: { vendor: "intel" } });
  intel.start("long", [["Call_m1664", { disp: POINTER }]]);
  intel.poke64(POINTER, BigInt(FAR));
  intel.poke32(POINTER + 8, SEL.CODE64);
  intel.program(FAR, [["Hlt"]]);
  intel.runToHalt();
  assertEquals(intel.stack(2, 8), [AT.CODE + 8, SEL.CODE64]);
  intel.start("long", [["Jmp_m1664", { disp: POINTER }]]);
  intel.poke64(POINTER, 0x8000_0000_0000n);
  const { vector, error } = intel.fault();
  assertEquals([vector, error], [GP, 0]);
});
