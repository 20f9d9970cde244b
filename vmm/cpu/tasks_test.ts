// Task switches, against Intel SDM vol. 3, 8.2 to 8.5 and table 8-1.

import { assertEquals } from "@std/assert";
import { EXIT_CODE } from "./exits.ts";
import { REGISTER } from "./registers.ts";
import { PageTables } from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";
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

const { DB, GP, NP, SS, TS } = VECTOR;
const m = new SystemMachine();

const NT = 0x4000;
const VM = 0x2_0000;
const CR0_TS = 8n;
const TASK = 0x2_0000;
const TASK_STACK = 0x3_0000;
const JUMP: readonly Op[] = [["Jmp_ptr1632", SEL.FREE, 0], ["Hlt"]];
const CALL: readonly Op[] = [["Call_ptr1632", SEL.FREE, 0], ["Hlt"]];

/** Fields of a 32-bit TSS by offset. */
const FIELD = {
  LINK: 0,
  CR3: 0x1c,
  EIP: 0x20,
  EFLAGS: 0x24,
  EAX: 0x28,
  EBX: 0x34,
  ESP: 0x38,
  ES: 0x48,
  CS: 0x4c,
  SS: 0x50,
  DS: 0x54,
  FS: 0x58,
  GS: 0x5c,
  LDT: 0x60,
  TRAP: 0x64,
} as const;

type Fields = Partial<Record<keyof typeof FIELD, number>>;

const DEFAULTS: Fields = {
  EIP: TASK,
  EFLAGS: 2,
  EAX: 0x1111_2222,
  EBX: 0x3333_4444,
  ESP: TASK_STACK,
  ES: SEL.DATA,
  CS: SEL.CODE32,
  SS: SEL.DATA,
  DS: SEL.DATA,
};

/** Writes the second task: a TSS at `AT.TSS2`, its descriptor in `FREE`. */
function task(m: SystemMachine, fields: Fields = {}, access = 0x89): void {
  m.memory.bytes.fill(0, AT.TSS2, AT.TSS2 + 0x68);
  for (const [name, value] of Object.entries({ ...DEFAULTS, ...fields })) {
    m.poke32(AT.TSS2 + FIELD[name as keyof Fields], value);
  }
  m.descriptor(
    SEL.FREE,
    segment({ base: AT.TSS2, limit: 0x67, access, flags: 0 }),
  );
  m.descriptor(
    SEL.TSS,
    segment({ base: AT.TSS, limit: 0x67, access: 0x8b, flags: 0 }),
  );
  m.program(TASK, [["Hlt"]], 32);
}

function field(base: number, name: keyof Fields): number {
  return m.peek32(base + FIELD[name]);
}

Deno.test("JMP to a TSS saves one task and loads the other (SDM 8.3)", () => {
  m.start("protected32", JUMP);
  task(m);
  m.set({ RBX: 0x5555_6666 });
  assertEquals(m.runToHalt(), TASK);
  assertEquals(field(AT.TSS, "EIP"), AT.CODE + 7);
  assertEquals(field(AT.TSS, "EBX"), 0x5555_6666);
  assertEquals(field(AT.TSS, "ESP"), AT.STACK);
  assertEquals(field(AT.TSS, "CS"), SEL.CODE32);
  assertEquals(field(AT.TSS, "EFLAGS"), 2);
  assertEquals(m.get("RAX"), 0x1111_2222n);
  assertEquals(m.get("RSP"), BigInt(TASK_STACK));
  assertEquals([m.get("FS"), m.get("TR")], [0n, BigInt(SEL.FREE)]);
  assertEquals(m.cpu.getDescriptor(REGISTER.TR), {
    base: BigInt(AT.TSS2),
    limit: 0x67,
    access: 0x8b,
  });
  assertEquals([m.accessOf(SEL.TSS), m.accessOf(SEL.FREE)], [0x89, 0x8b]);
  assertEquals(m.get("CR0") & CR0_TS, CR0_TS);
  assertEquals(m.get("RFLAGS"), 2n);
});

Deno.test("CALL links the tasks and IRET goes back (SDM 8.4)", () => {
  m.start("protected32", CALL);
  task(m);
  assertEquals(m.runToHalt(), TASK);
  assertEquals(field(AT.TSS2, "LINK") & 0xffff, SEL.TSS);
  assertEquals(m.get("RFLAGS") & BigInt(NT), BigInt(NT));
  assertEquals([m.accessOf(SEL.TSS), m.accessOf(SEL.FREE)], [0x8b, 0x8b]);
  m.start("protected32", CALL);
  task(m);
  m.program(TASK, [["Iretd"]], 32);
  assertEquals(m.runToHalt(), AT.CODE + 7);
  assertEquals([m.accessOf(SEL.TSS), m.accessOf(SEL.FREE)], [0x8b, 0x89]);
  assertEquals(field(AT.TSS2, "EFLAGS"), 2);
  assertEquals(field(AT.TSS2, "EIP"), TASK + 1);
  assertEquals(m.get("RSP"), BigInt(AT.STACK));
});

Deno.test("JMP through a task gate, from level 3 (SDM 8.2.5)", () => {
  m.start("protected32", [["Jmp_ptr1632", SEL.FREE2 | 3, 0]], { cpl: 3 });
  task(m);
  m.descriptor(
    SEL.FREE2,
    gate({ selector: SEL.FREE, offset: 0, access: 0xe5 }),
  );
  assertEquals(m.runToHalt(), TASK);
  assertEquals(field(AT.TSS, "CS"), SEL.USER32);
});

Deno.test("a task gate of the IDT pushes the error code in the new task (SDM 6.12.2)", () => {
  m.start("protected32", [["Mov_r32_imm32", "EAX", SEL.BEYOND], [
    "Mov_Sreg_r32m16",
    "DS",
    "EAX",
  ]]);
  task(m);
  m.idt(GP, { selector: SEL.FREE, offset: 0, access: 0x85 });
  assertEquals(m.runToHalt(), TASK);
  assertEquals(m.stack(1, 4), [SEL.BEYOND]);
  assertEquals(m.get("RSP"), BigInt(TASK_STACK - 4));
  assertEquals(field(AT.TSS, "EIP"), AT.CODE + 5);
});

Deno.test("a task may be an 8086 program (SDM 21.2.1)", () => {
  m.start("protected32", JUMP);
  task(m, { EFLAGS: VM | 2, CS: 0x900, EIP: 0x10, SS: 0x800, DS: 0x123 });
  m.program(0x9010, [["Ud2"]], 16);
  assertEquals(m.fault().rip, 0x10n);
  assertEquals(m.cpu.getDescriptor(REGISTER.DS), {
    base: 0x1230n,
    limit: 0xffff,
    access: 0xf3,
  });
  assertEquals(m.get("RFLAGS"), BigInt(VM | 2));
});

Deno.test("a 16-bit TSS saves and loads words (SDM 8.6)", () => {
  m.start("protected32", CALL);
  task(m);
  const at = AT.TSS2;
  m.memory.bytes.fill(0, at, at + 0x2c);
  const put = (offset: number, value: number) =>
    m.view.setUint16(at + offset, value, true);
  put(0x0e, 0x5100);
  put(0x10, 2);
  put(0x12, 0x1234);
  put(0x1a, 0x5800);
  put(0x22, SEL.DATA);
  put(0x24, SEL.CODE32);
  put(0x26, SEL.DATA);
  put(0x28, SEL.DATA);
  m.descriptor(
    SEL.FREE,
    segment({ base: at, limit: 0x2b, access: 0x81, flags: 0 }),
  );
  m.program(0x5100, [["Mov_r32_imm32", "EAX", 0x7777], ["Iretd"]]);
  assertEquals(m.runToHalt(), AT.CODE + 7);
  assertEquals(m.view.getUint16(at + 0x12, true), 0x7777);
  assertEquals(m.view.getUint16(at + 0x0e, true), 0x5106);
  assertEquals(m.view.getUint16(at, true), SEL.TSS);
});

Deno.test("a task has its own page tables and LDT (SDM 8.5)", () => {
  const first = new PageTables(m, "legacy", 0x10_0000);
  first.map(0, 0, 3, 4 << 20);
  const second = new PageTables(m, "legacy", 0x20_0000);
  second.map(0, 0, 3, 4 << 20);
  second.map(0x80_0000, 0x40_0000, 3, 4 << 20);
  const PSE = 0x10;
  m.start("protected32", JUMP, { tables: first, cr4: PSE });
  task(m, { CR3: second.root, LDT: SEL.LDT, DS: 0xc });
  m.poke64(AT.LDT + 8, segment({ base: 0x80_0000, access: 0x92 }));
  m.poke32(0x40_0100, 0x1234_5678);
  m.program(TASK, [["Mov_r32_rm32", "EAX", { disp: 0x100 }], ["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("RAX"), 0x1234_5678n);
  assertEquals(m.get("CR3"), BigInt(second.root));
  assertEquals(m.get("LDTR"), BigInt(SEL.LDT));
});

Deno.test("the T flag raises #DB after the switch (SDM 8.2.1, 18.3.1.5)", () => {
  m.start("protected32", JUMP);
  task(m, { TRAP: 1 });
  const { vector, rip } = m.fault();
  assertEquals([vector, rip], [DB, BigInt(TASK)]);
  assertEquals(m.get("DR6") >> 15n & 1n, 1n);
});

Deno.test("local breakpoints end with the task (SDM 18.2.4)", () => {
  m.start("protected32", JUMP);
  task(m);
  m.set({ DR7: 0x755 | 2 });
  m.runToHalt();
  assertEquals(m.get("DR7"), 0x602n);
});

const jumpFault = (
  name: string,
  vector: number,
  error: number,
  fields: Fields,
): FaultCase => ({
  name,
  mode: "protected32",
  ops: JUMP,
  vector,
  error,
  prepare: (m) => task(m, fields),
});

Deno.test("segments are checked in the new task (SDM table 8-1)", () => {
  checkFaults(m, [
    jumpFault("LDT not an LDT", TS, SEL.DATA, { LDT: SEL.DATA }),
    jumpFault("LDT beyond", TS, SEL.BEYOND, { LDT: SEL.BEYOND }),
    jumpFault("CS null", TS, 0, { CS: 0 }),
    jumpFault("CS data", TS, SEL.DATA, { CS: SEL.DATA }),
    jumpFault("CS RPL", TS, SEL.CODE32, { CS: SEL.CODE32 | 3 }),
    jumpFault("SS null", TS, 0, { SS: 0 }),
    jumpFault("SS level", TS, 0x28, { SS: SEL.USER_DATA }),
    jumpFault("SS absent", SS, SEL.ABSENT, { SS: SEL.ABSENT }),
    jumpFault("DS absent", NP, SEL.ABSENT, { DS: SEL.ABSENT }),
    jumpFault("ES code", TS, SEL.EXECUTE_ONLY, { ES: SEL.EXECUTE_ONLY }),
    jumpFault("GS beyond", TS, SEL.BEYOND, { GS: SEL.BEYOND }),
  ]);
  assertEquals(m.get("RIP"), BigInt(TASK));
  assertEquals(m.get("TR"), BigInt(SEL.FREE));
});

Deno.test("the TSS is checked in the old task (SDM table 8-1)", () => {
  const short = (limit: number, access = 0x89) => (m: SystemMachine) => {
    task(m);
    const base = AT.TSS2;
    m.descriptor(SEL.FREE, segment({ base, limit, access, flags: 0 }));
  };
  const base = { mode: "protected32", ops: JUMP, error: SEL.FREE } as const;
  checkFaults(m, [
    { ...base, name: "too short", vector: TS, prepare: short(0x66) },
    { ...base, name: "absent", vector: NP, prepare: short(0x67, 0x09) },
    { ...base, name: "busy", vector: GP, prepare: short(0x67, 0x8b) },
    {
      ...base,
      name: "too short, 16 bits",
      vector: TS,
      prepare: short(42, 0x81),
    },
    {
      ...base,
      name: "IRET to a task that is not busy",
      ops: [["Iretd"]],
      vector: TS,
      options: { flags: NT | 2 },
      prepare: (m) => {
        task(m);
        m.poke32(AT.TSS, SEL.FREE);
      },
    },
    {
      ...base,
      name: "IRET to a task in the LDT",
      ops: [["Iretd"]],
      vector: TS,
      error: 0xc,
      options: { flags: NT | 2 },
      prepare: (m) => m.poke32(AT.TSS, 0xc),
    },
  ]);
  assertEquals(m.get("TR"), BigInt(SEL.TSS));
});

Deno.test("a task switch exits instead where that is wanted (vmm(4) TASK_SWITCH)", () => {
  m.start("protected32", CALL);
  task(m);
  m.cpu.taskSwitchExits = true;
  const exit = m.run();
  m.cpu.taskSwitchExits = false;
  assertEquals(exit.code, EXIT_CODE.TASK_SWITCH);
  if (exit.code !== EXIT_CODE.TASK_SWITCH) return;
  const { tssSelector, reason, errorCodeValid, ext, rip } = exit;
  assertEquals(
    { tssSelector, reason, errorCodeValid, ext, rip },
    {
      tssSelector: SEL.FREE,
      reason: 0,
      errorCodeValid: false,
      ext: false,
      rip: BigInt(AT.CODE),
    },
  );
});
