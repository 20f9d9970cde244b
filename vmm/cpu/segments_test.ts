// Segment registers and descriptor inspection, against Intel SDM vol. 2 (MOV, POP,
// LDS, LLDT, LTR, LAR, LSL, VERR, ARPL, SGDT, SMSW) and vol. 3, 3.4 and 5.4 to 5.10.

import { assertEquals } from "@std/assert";
import { REGISTER } from "./registers.ts";
import { CR4, testTiers } from "./testing.ts";
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

const { GP, NP, SS, UD } = VECTOR;
let m = new SystemMachine();

// Each has a machine of its own in each tier.
function test(name: string, body: () => void): void {
  testTiers(name, () => {
    m = new SystemMachine();
    body();
  });
}

function loading(register: "DS" | "ES" | "SS" | "FS", selector: number): Op[] {
  return [
    ["Mov_r32_imm32", "EAX", selector],
    ["Mov_Sreg_r32m16", register, "EAX"],
    ["Hlt"],
  ];
}

test("real mode loads the base and keeps the limit (SDM 3.4.3, 22.1.1)", () => {
  m.start("real", [
    ["Mov_r16_imm16", "AX", 0x1234],
    ["Mov_Sreg_rm16", "DS", "AX"],
    ["Hlt"],
  ]);
  m.cpu.setDescriptor(REGISTER.DS, {
    base: 0n,
    limit: 0xffff_ffff,
    access: 0xc093,
  });
  m.runToHalt();
  const ds = m.cpu.getDescriptor(REGISTER.DS);
  assertEquals(ds.base, 0x12340n);
  assertEquals(ds.limit, 0xffff_ffff);
  assertEquals(m.get("DS"), 0x1234n);
});

test("a protected load reads the descriptor and sets its accessed bit (SDM 3.4.5.1)", () => {
  m.start("protected32", loading("DS", SEL.FREE));
  m.descriptor(
    SEL.FREE,
    segment({ base: 0x1234_5678, limit: 0x12345, access: 0x92, flags: 0x4 }),
  );
  m.runToHalt();
  assertEquals(m.cpu.getDescriptor(REGISTER.DS), {
    base: 0x1234_5678n,
    limit: 0x12345,
    access: 0x4093,
  });
  assertEquals(m.accessOf(SEL.FREE), 0x93);
});

test("a null selector makes a data segment unusable (SDM 3.4.2)", () => {
  m.start("protected32", loading("ES", 2));
  m.runToHalt();
  assertEquals(m.get("ES"), 2n);
  assertEquals(m.cpu.getDescriptor(REGISTER.ES).access & 0x10000, 0x10000);
  m.start("protected32", [
    ...loading("DS", 0).slice(0, 2),
    ["Mov_r8_rm8", "AL", { disp: 0x100 }],
  ]);
  const { vector, error } = m.fault();
  assertEquals([vector, error], [GP, 0]);
});

test("64-bit mode takes a null SS below level 3 (SDM 5.4.1.1)", () => {
  m.start("long", loading("SS", 0));
  m.runToHalt();
  assertEquals(m.get("SS"), 0n);
  checkFaults(m, [{
    name: "level 3",
    mode: "long",
    ops: loading("SS", 3),
    vector: GP,
    error: 0,
    options: { cpl: 3 },
  }, {
    name: "compatibility mode",
    mode: "compat",
    ops: loading("SS", 0),
    vector: GP,
    error: 0,
  }]);
});

const LOAD_FAULTS: readonly FaultCase[] = [
  ["DS beyond the table", loading("DS", SEL.BEYOND), GP, SEL.BEYOND],
  ["DS beyond the LDT", loading("DS", 4), GP, 4],
  ["DS execute-only", loading("DS", SEL.EXECUTE_ONLY), GP, SEL.EXECUTE_ONLY],
  ["DS a system segment", loading("DS", SEL.TSS), GP, SEL.TSS],
  ["DS absent", loading("DS", SEL.ABSENT), NP, SEL.ABSENT],
  ["SS null", loading("SS", 0), GP, 0],
  ["SS read-only", loading("SS", SEL.READ_ONLY), GP, SEL.READ_ONLY],
  ["SS of another level", loading("SS", SEL.USER_DATA), GP, 0x28],
  ["SS with another RPL", loading("SS", SEL.DATA | 1), GP, SEL.DATA],
  ["SS absent", loading("SS", SEL.ABSENT), SS, SEL.ABSENT],
].map(([name, ops, vector, error]) => ({
  name,
  ops,
  vector,
  error,
  mode: "protected32",
} as FaultCase));

test("loads raise #GP, #NP and #SS with the selector (SDM vol. 2, MOV)", () => {
  checkFaults(m, LOAD_FAULTS);
  checkFaults(m, [{
    name: "level 3 may not use data of level 0",
    mode: "protected32",
    ops: loading("DS", SEL.DATA | 3),
    vector: GP,
    error: SEL.DATA,
    options: { cpl: 3 },
  }]);
});

Deno.test("an inner level's conforming code may be read by all (SDM 5.5)", () => {
  m.start("protected32", loading("FS", SEL.CONFORMING | 3).slice(0, 2), {
    cpl: 3,
  });
  m.run(2);
  assertEquals(m.get("FS"), BigInt(SEL.CONFORMING | 3));
});

Deno.test("MOV SS and POP SS hold interrupts back for one instruction (SDM 6.8.3)", () => {
  m.start("protected32", loading("SS", SEL.DATA));
  m.run(2);
  assertEquals(m.get("INTR_SHADOW"), 1n);
  m.run(1);
  assertEquals(m.get("INTR_SHADOW"), 0n);
});

test("PUSH and POP of segment registers, in each size (SDM vol. 2)", () => {
  m.start("protected32", [
    ["Pushd_DS"],
    ["Pushw_SS"],
    ["Popw_ES"],
    ["Popd_FS"],
    ["Hlt"],
  ]);
  m.runToHalt();
  assertEquals(m.get("RSP"), BigInt(AT.STACK));
  assertEquals(m.get("ES"), BigInt(SEL.DATA));
  assertEquals(m.get("FS"), BigInt(SEL.DATA));
  m.start("long", [["Pushq_FS"], ["Popq_GS"], ["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("GS"), BigInt(SEL.DATA));
});

test("a POP that faults leaves the stack pointer (SDM vol. 2, POP)", () => {
  m.start("protected32", [["Pushd_imm32", SEL.ABSENT], ["Popd_ES"]]);
  const { vector } = m.fault();
  assertEquals(vector, NP);
  assertEquals(m.get("RSP"), BigInt(AT.STACK - 4));
});

test("LSS and LFS load a pointer (SDM vol. 2, LDS)", () => {
  m.start("protected32", [
    ["Lfs_r32_m1632", "EBX", { disp: 0x5000 }],
    ["Lss_r32_m1632", "ESP", { disp: 0x5000 }],
    ["Hlt"],
  ]);
  m.poke32(0x5000, 0x8765_4320);
  m.poke32(0x5004, SEL.DATA);
  m.runToHalt();
  assertEquals(m.get("RBX"), 0x8765_4320n);
  assertEquals(m.get("FS"), BigInt(SEL.DATA));
  assertEquals(m.get("RSP"), 0x8765_4320n);
});

test("LLDT loads the LDT, whose selectors then work (SDM 3.5.1)", () => {
  m.start("protected32", [
    ["Mov_r32_imm32", "EAX", SEL.LDT],
    ["Lldt_r32m16", "EAX"],
    ["Sldt_r32m16", "EBX"],
    ...loading("DS", 0xc),
  ]);
  m.poke64(AT.LDT + 8, segment({ base: 0x4000, access: 0x92 }));
  m.runToHalt();
  assertEquals(m.get("RBX"), BigInt(SEL.LDT));
  assertEquals(m.cpu.getDescriptor(REGISTER.DS).base, 0x4000n);
});

test("in long mode LLDT and LTR read 16 bytes (SDM 8.2.3)", () => {
  const ops: Op[] = [
    ["Mov_r32_imm32", "EAX", SEL.FREE],
    ["Lldt_r32m16", "EAX"],
    ["Mov_r32_imm32", "EAX", SEL.FREE2],
    ["Ltr_r32m16", "EAX"],
    ["Str_r32m16", "ECX"],
    ["Hlt"],
  ];
  m.start("long", ops);
  const ldt = segment({ base: 0x1000, limit: 7, access: 0x82, flags: 0 });
  const tss = segment({ base: 0x2000, limit: 0x67, access: 0x89, flags: 0 });
  m.descriptor(SEL.FREE, ldt, 0xffff_8000n);
  m.descriptor(SEL.FREE2, tss, 0xffff_8001n);
  m.runToHalt();
  const base = (name: "LDTR" | "TR") =>
    m.cpu.getDescriptor(REGISTER[name]).base;
  assertEquals(base("LDTR"), 0xffff_8000_0000_1000n);
  assertEquals(base("TR"), 0xffff_8001_0000_2000n);
  assertEquals(m.cpu.getDescriptor(REGISTER.TR).access, 0x8b);
  assertEquals(m.accessOf(SEL.FREE2), 0x8b);
  assertEquals(m.get("RCX"), BigInt(SEL.FREE2));
  // A base that is not canonical, and a second type field that is not 0.
  for (const high of [0x0001_0000n, 0xffff_8000n | 1n << 40n]) {
    m.start("long", ops);
    m.descriptor(SEL.FREE, ldt, high);
    const { vector, error } = m.fault();
    assertEquals([vector, error], [GP, SEL.FREE]);
  }
});

function taskLoad(code: "Lldt_r32m16" | "Ltr_r32m16", selector: number): Op[] {
  return [["Mov_r32_imm32", "EAX", selector], [code, "EAX"]];
}

test("LLDT and LTR check their descriptor (SDM vol. 2)", () => {
  const base = { mode: "protected32", vector: GP } as const;
  checkFaults(m, [
    {
      ...base,
      name: "LLDT of a data segment",
      ops: taskLoad("Lldt_r32m16", SEL.DATA),
      error: SEL.DATA,
    },
    {
      ...base,
      name: "LLDT from the LDT",
      ops: taskLoad("Lldt_r32m16", 0xc),
      error: 0xc,
    },
    {
      ...base,
      name: "LLDT absent",
      ops: taskLoad("Lldt_r32m16", SEL.FREE),
      vector: NP,
      error: SEL.FREE,
      prepare: (m) => m.descriptor(SEL.FREE, segment({ access: 0x02 })),
    },
    { ...base, name: "LTR null", ops: taskLoad("Ltr_r32m16", 0), error: 0 },
    {
      ...base,
      name: "LTR busy",
      ops: taskLoad("Ltr_r32m16", SEL.FREE),
      error: SEL.FREE,
      prepare: (m) => m.descriptor(SEL.FREE, segment({ access: 0x8b })),
    },
    {
      ...base,
      name: "LTR at level 3",
      ops: taskLoad("Ltr_r32m16", SEL.TSS),
      error: 0,
      options: { cpl: 3 },
    },
  ]);
});

function inspecting(code: Op[0], selector: number): Op[] {
  return [
    ["Mov_r32_imm32", "ECX", selector],
    ["Mov_r32_imm32", "EAX", 0x5555],
    code === "Lar_r16_rm16" ? [code, "AX", "CX"] : [code, "EAX", "ECX"],
  ];
}

const ZF = 0x40n;

function inspect(code: Op[0], selector: number, cpl = 0): bigint | undefined {
  m.start("protected32", inspecting(code, selector), { cpl });
  m.descriptor(
    SEL.FREE,
    gate({ selector: 8, offset: 0x12345678, access: 0x8c }),
  );
  m.run(3);
  return (m.get("RFLAGS") & ZF) !== 0n ? m.get("RAX") : undefined;
}

Deno.test("LAR and LSL answer for visible descriptors (SDM vol. 2, 5.10.2, 5.10.3)", () => {
  assertEquals(inspect("Lar_r32_r32m16", SEL.DATA), 0xcf9200n);
  assertEquals(inspect("Lar_r16_rm16", SEL.DATA), 0x9200n);
  assertEquals(inspect("Lar_r32_r32m16", SEL.FREE), 0x348c00n);
  assertEquals(inspect("Lsl_r32_r32m16", SEL.DATA), 0xffff_ffffn);
  assertEquals(inspect("Lsl_r32_r32m16", SEL.CODE16), 0xffffn);
  assertEquals(inspect("Lsl_r32_r32m16", SEL.FREE), undefined);
  assertEquals(inspect("Lar_r32_r32m16", 0), undefined);
  assertEquals(inspect("Lar_r32_r32m16", SEL.BEYOND), undefined);
  assertEquals(inspect("Lar_r32_r32m16", SEL.DATA | 3, 3), undefined);
  assertEquals(inspect("Lar_r32_r32m16", SEL.CONFORMING, 3), 0xcf9e00n);
});

function verify(code: "Verr_rm16" | "Verw_rm16", selector: number): boolean {
  m.start("protected32", [["Mov_r32_imm32", "ECX", selector], [code, "CX"]]);
  m.run(2);
  return (m.get("RFLAGS") & ZF) !== 0n;
}

Deno.test("VERR and VERW (SDM 5.10.2)", () => {
  assertEquals(verify("Verr_rm16", SEL.DATA), true);
  assertEquals(verify("Verr_rm16", SEL.EXECUTE_ONLY), false);
  assertEquals(verify("Verr_rm16", SEL.TSS), false);
  assertEquals(verify("Verw_rm16", SEL.DATA), true);
  assertEquals(verify("Verw_rm16", SEL.READ_ONLY), false);
  assertEquals(verify("Verw_rm16", SEL.CODE32), false);
});

test("ARPL raises the RPL (SDM 5.10.4)", () => {
  m.start("protected32", [
    ["Mov_r32_imm32", "EAX", 0x1230],
    ["Mov_r32_imm32", "ECX", 0x0003],
    ["Arpl_rm16_r16", "AX", "CX"],
    ["Hlt"],
  ]);
  m.runToHalt();
  assertEquals(m.get("RAX"), 0x1233n);
  assertEquals(m.get("RFLAGS") & ZF, ZF);
});

test("LGDT, SGDT, LIDT and SIDT (SDM vol. 2)", () => {
  m.start("long", [
    ["Lgdt_m1664", { disp: 0x5000 }],
    ["Sgdt_m1664", { disp: 0x5010 }],
    ["Sidt_m1664", { disp: 0x5020 }],
    ["Hlt"],
  ]);
  m.poke32(0x5000, 0x1234_0fff);
  m.poke64(0x5002, 0xffff_8000_1234_5678n);
  m.runToHalt();
  assertEquals(m.cpu.getDescriptor(REGISTER.GDTR).limit, 0xfff);
  assertEquals(m.peek64(0x5012), 0xffff_8000_1234_5678n);
  assertEquals(m.peek64(0x5022), BigInt(AT.IDT));
  assertEquals(m.peek32(0x5020) & 0xffff, 0xfff);
  m.start("long", [["Lidt_m1664", { disp: 0x5000 }]]);
  m.poke64(0x5002, 0x0001_0000_0000_0000n);
  assertEquals(m.fault().vector, GP);
  // The 16-bit operand size has 24 bits of base.
  m.start("protected32", [["Lgdt_m1632_16", { disp: 0x5000 }], ["Hlt"]]);
  m.poke32(0x5000, 0x5678_0fff);
  m.poke32(0x5004, 0x1234);
  m.runToHalt();
  assertEquals(m.cpu.getDescriptor(REGISTER.GDTR).base, 0x345678n);
});

test("UMIP keeps user code from the tables' addresses (SDM 2.5, CR4.UMIP)", () => {
  const stores: Op[] = [
    ["Sgdt_m1632", { disp: 0x5000 }],
    ["Sidt_m1632", { disp: 0x5000 }],
    ["Sldt_r32m16", "EAX"],
    ["Str_r32m16", "EAX"],
    ["Smsw_r32m16", "EAX"],
  ];
  for (const op of stores) {
    checkFaults(m, [{
      name: op[0],
      mode: "protected32",
      ops: [op],
      vector: GP,
      error: 0,
      options: { cpl: 3, cr4: CR4.UMIP },
    }]);
    m.start("protected32", [op, ["Ud2"]], { cpl: 3 });
    assertEquals(m.fault().vector, UD);
  }
});

test("descriptor instructions are invalid in real mode (SDM vol. 2)", () => {
  const ops: Op[] = [
    ["Lldt_rm16", "AX"],
    ["Ltr_rm16", "AX"],
    ["Sldt_rm16", "AX"],
    ["Str_rm16", "AX"],
    ["Verr_rm16", "AX"],
    ["Lar_r16_rm16", "AX", "CX"],
    ["Arpl_rm16_r16", "AX", "CX"],
  ];
  for (const mode of ["real", "vm86"] as const) {
    for (const op of ops) {
      m.start(mode, [op]);
      assertEquals(m.fault().vector, UD, `${op[0]} in ${mode}`);
    }
  }
});

test("LMSW sets PE and cannot clear it (SDM vol. 2, LMSW)", () => {
  m.start("protected32", [
    ["Mov_r32_imm32", "EAX", 0xa],
    ["Lmsw_r32m16", "EAX"],
    ["Smsw_r32m16", "EBX"],
    ["Hlt"],
  ]);
  m.runToHalt();
  assertEquals(m.get("RBX") & 0xfn, 0xbn);
});
