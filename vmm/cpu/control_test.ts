// Control registers, modes, system calls and system instructions, against Intel SDM
// vol. 3, 2.5, 4.4.1, 4.10, 5.8.7, 5.8.8, 10.8, 10.9, 18.2, and vol. 2.

import { assertEquals } from "@std/assert";
import { EXIT_CODE } from "./exits.ts";
import { REGISTER } from "./registers.ts";
import { CR0, CR4, EFER, PageTables, PTE, testTiers } from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";
import {
  AT,
  checkFaults,
  type FaultCase,
  type Op,
  SEL,
  SystemMachine,
} from "./system_testing.ts";

const { DB, GP, PF, UD } = VECTOR;
const makeIntel = () => new SystemMachine({ cpuid: { vendor: "intel" } });
let m = new SystemMachine();
let intel = makeIntel();

// Each has machines of its own in each tier.
function test(name: string, body: () => void): void {
  testTiers(name, () => {
    m = new SystemMachine();
    intel = makeIntel();
    body();
  });
}

const IF = 0x200;

function setCr(cr: "CR0" | "CR3" | "CR4", value: number): Op[] {
  return [["Mov_r32_imm32", "EAX", value | 0], ["Mov_cr_r32", cr, "EAX"]];
}

function setCr64(
  cr: "CR0" | "CR3" | "CR4" | "CR8",
  value: number | bigint,
): Op[] {
  return [["Mov_r64_imm64", "RAX", value], ["Mov_cr_r64", cr, "RAX"]];
}

function wrmsr(msr: number, value: bigint): Op[] {
  return [
    ["Mov_r32_imm32", "ECX", msr | 0],
    ["Mov_r32_imm32", "EAX", Number(BigInt.asIntN(32, value))],
    ["Mov_r32_imm32", "EDX", Number(BigInt.asIntN(32, value >> 32n))],
    ["Wrmsr"],
  ];
}

const MSR_EFER = 0xc000_0080;
const MSR_STAR = 0xc000_0081;
const MSR_LSTAR = 0xc000_0082;
const MSR_CSTAR = 0xc000_0083;
const MSR_SFMASK = 0xc000_0084;

// --- Mode transitions ------------------------------------------------------------

test("from real mode to long mode and all the way back (SDM 10.8.5, 10.9)", () => {
  const tables = m.identity();
  m.start("real", [
    ["Lgdt_m1632", { disp: 0x5000 }],
    ["Mov_r32_cr", "EAX", "CR0"],
    ["Or_rm32_imm8", "EAX", 1],
    ["Mov_cr_r32", "CR0", "EAX"],
    ["Jmp_ptr1632", SEL.CODE32, AT.CODE],
  ]);
  m.view.setUint16(0x5000, 0xff, true);
  m.poke32(0x5002, AT.GDT);
  m.program(AT.CODE, [
    ["Mov_r32_imm32", "EAX", SEL.DATA],
    ["Mov_Sreg_r32m16", "SS", "EAX"],
    ["Mov_Sreg_r32m16", "DS", "EAX"],
    ["Mov_r32_imm32", "ESP", AT.STACK],
    ...setCr("CR4", CR4.PAE),
    ...setCr("CR3", tables.root),
    ...wrmsr(MSR_EFER, BigInt(EFER.LME)),
    ...setCr("CR0", CR0.PG | CR0.PE | CR0.NE),
    // Compatibility mode now.
    ["Mov_r32_cr", "ESI", "CR0"],
    ["Jmp_ptr1632", SEL.CODE64, AT.USER],
  ], 32);
  m.program(AT.USER, [
    ["Mov_r64_imm64", "RBX", 0x1234_5678_9abc_def0n],
    ["Mov_r32_imm32", "ECX", MSR_EFER | 0],
    ["Rdmsr"],
    ["Mov_r32_rm32", "EDI", "EAX"],
    ["Jmp_m1632", { disp: 0x5010 }],
  ], 64);
  m.poke32(0x5010, AT.USER + 0x100);
  m.poke32(0x5014, SEL.CODE32);
  m.program(AT.USER + 0x100, [
    ...setCr("CR0", CR0.PE | CR0.NE),
    ["Mov_r32_imm32", "ECX", MSR_EFER | 0],
    ["Rdmsr"],
    ["Mov_r32_rm32", "EBP", "EAX"],
    ["Jmp_ptr1632", SEL.CODE16, 0x7000],
  ], 32);
  m.program(0x7000, [
    ["Mov_r16_imm16", "AX", SEL.DATA16],
    ["Mov_Sreg_rm16", "DS", "AX"],
    ["Mov_Sreg_rm16", "SS", "AX"],
    ["Mov_r32_cr", "EAX", "CR0"],
    ["And_rm32_imm8", "EAX", -2],
    ["Mov_cr_r32", "CR0", "EAX"],
    ["Jmp_ptr1616", 0x700, 0x100],
  ], 16);
  m.program(0x7100, [["Mov_r16_imm16", "DX", 0x4321], ["Hlt"]], 16);
  assertEquals(m.runToHalt(), 0x103);
  assertEquals(m.get("RBX"), 0x1234_5678_9abc_def0n);
  assertEquals(m.get("RDI"), BigInt(EFER.LME | EFER.LMA));
  assertEquals(m.get("RBP"), BigInt(EFER.LME));
  assertEquals(m.get("RSI") >> 31n, 1n);
  assertEquals(m.get("RDX") & 0xffffn, 0x4321n);
  assertEquals(m.get("CS"), 0x700n);
});

// --- CR0 and CR4 ---------------------------------------------------------------------

const illegal = (
  name: string,
  mode: FaultCase["mode"],
  ops: readonly Op[],
  options: FaultCase["options"] = {},
): FaultCase => ({ name, mode, ops, vector: GP, error: 0, options });

test("CR0 refuses what makes no mode (SDM 2.5, vol. 2 MOV CR)", () => {
  checkFaults(m, [
    illegal("PG without PE", "real", setCr("CR0", CR0.PG)),
    illegal("NW without CD", "protected32", setCr("CR0", 0x2000_0001)),
    illegal("PG off in 64-bit mode", "long", setCr64("CR0", 0x21)),
    illegal("upper bits", "long", setCr64("CR0", 0x1_8000_0021n)),
    illegal("LME without PAE", "protected32", setCr("CR0", CR0.PG | 0x21), {
      efer: EFER.LME,
    }),
    illegal("PG off with PCIDE", "compat", setCr("CR0", 0x21), {
      cr4: CR4.PCIDE,
    }),
    illegal("level 3", "protected32", setCr("CR0", 0x21), { cpl: 3 }),
    illegal("CLTS at level 3", "protected32", [["Clts"]], { cpl: 3 }),
  ]);
});

test("CR0's reserved bits stay clear and ET set (SDM 2.5)", () => {
  m.start("protected32", [
    ...setCr("CR0", 0x1fff_ffff),
    [
      "Mov_r32_cr",
      "EBX",
      "CR0",
    ],
    ["Clts"],
    ["Mov_r32_cr", "ECX", "CR0"],
    ["Hlt"],
  ]);
  m.runToHalt();
  assertEquals(m.get("RBX"), 0x5_003fn);
  assertEquals(m.get("RCX"), 0x5_0037n);
});

test("CR4 refuses what makes no mode (SDM 2.5)", () => {
  checkFaults(m, [
    illegal("PAE off in long mode", "long", setCr64("CR4", 0)),
    illegal("upper bits", "long", setCr64("CR4", 0x1_0000_0020n)),
    illegal("LA57", "protected32", setCr("CR4", 0x1000)),
    illegal(
      "PCIDE outside long mode",
      "protected32",
      setCr("CR4", CR4.PCIDE | CR4.PAE),
    ),
    {
      ...illegal(
        "PCIDE with a PCID",
        "long",
        setCr64("CR4", CR4.PCIDE | CR4.PAE),
      ),
      prepare: (m) => m.set({ CR3: m.get("CR3") | 1n }),
    },
  ]);
  m.start("long", [["Mov_r64_cr", "RAX", "CR4"], ["Hlt"]]);
  m.runToHalt();
  assertEquals(m.get("RAX"), BigInt(CR4.PAE));
});

test("CR3 refuses bits beyond the physical address (SDM 4.5, vol. 2 MOV CR)", () => {
  checkFaults(m, [
    illegal("bit 51", "long", setCr64("CR3", 1n << 51n)),
    illegal("bit 63 without PCIDE", "long", setCr64("CR3", 1n << 63n)),
  ]);
});

test("PAE paging checks the PDPTEs at once (SDM 4.4.1)", () => {
  const table = 0x50_0000;
  const load = setCr("CR3", table);
  const tables = new PageTables(m, "pae");
  tables.map(0, 0, PTE.P | PTE.RW, 2 << 20);
  m.memory.bytes.fill(0, table, table + 32);
  checkFaults(m, [{
    ...illegal("reserved bit", "protected32", load, { tables }),
    prepare: (m) => m.poke64(table, 3n),
  }]);
  m.start("protected32", [...load, ["Hlt"]], { tables });
  m.poke64(table, tables.read(tables.root));
  m.poke64(table + 8, 0xfen);
  m.runToHalt();
  assertEquals(m.get("PDPTE1"), 0xfen);
});

// --- Address spaces --------------------------------------------------------------------

const X = 0x60_0000;
const READ_X: Op = ["Mov_r32_rm32", "EBX", { disp: X }];

// Two values, and a page table entry that is switched between them.
function twoPages(m: SystemMachine, bits = 3): {
  tables: PageTables;
  entry: number;
} {
  const tables = m.identity();
  const entry = tables.map(X, FIRST, bits, 2 << 20);
  m.poke32(FIRST, 1);
  m.poke32(OTHER, 2);
  return { tables, entry };
}

const FIRST = 0x20_0000;
const OTHER = 0x60_0000;

function switching(m: SystemMachine, between: readonly Op[], bits = 3): bigint {
  const { tables, entry } = twoPages(m, bits);
  m.start("long", [
    READ_X,
    // Writes the entry through its identity mapping.
    ["Mov_r32_imm32", "EAX", (OTHER | bits | 0x80) | 0],
    ["Mov_rm32_r32", { disp: entry }, "EAX"],
    ...between,
    READ_X,
    ["Hlt"],
  ], { tables, cr4: CR4.PGE });
  m.runToHalt();
  return m.get("RBX");
}

const RELOAD: readonly Op[] = [
  ["Mov_r64_cr", "RAX", "CR3"],
  ["Mov_cr_r64", "CR3", "RAX"],
];
const TOGGLE_PGE: readonly Op[] = [
  ["Mov_r64_cr", "RAX", "CR4"],
  ["Xor_rm32_imm32", "EAX", CR4.PGE],
  ["Mov_cr_r64", "CR4", "RAX"],
];

test("MOV CR3, INVLPG and CR4.PGE flush what they must (SDM 4.10.4.1)", () => {
  const GLOBAL = 3 | PTE.G;
  assertEquals(switching(m, []), 1n);
  assertEquals(switching(m, RELOAD), 2n);
  assertEquals(switching(m, RELOAD, GLOBAL), 1n);
  assertEquals(switching(m, [["Invlpg_m", { disp: X }]]), 2n);
  assertEquals(switching(m, [["Invlpg_m", { disp: X }]], GLOBAL), 2n);
  assertEquals(switching(m, TOGGLE_PGE, GLOBAL), 2n);
});

const ENABLE_PCIDS: readonly Op[] = [
  ["Mov_r64_cr", "RAX", "CR4"],
  ["Or_rm32_imm32", "EAX", CR4.PCIDE],
  ["Mov_cr_r64", "CR4", "RAX"],
];

function invpcid(type: number, pcid: number): Op[] {
  return [
    ["Mov_r64_imm64", "RAX", pcid],
    ["Mov_rm64_r64", { disp: 0x5000 }, "RAX"],
    ["Mov_r64_imm64", "RAX", X],
    ["Mov_rm64_r64", { disp: 0x5008 }, "RAX"],
    ["Mov_r64_imm64", "RCX", type],
    ["Invpcid_r64_m128", "RCX", { disp: 0x5000 }],
  ];
}

// Reads through PCID 0, changes the entry under PCID 1, comes back with bit 63.
function pcidTrip(m: SystemMachine, between: readonly Op[], bits = 3): bigint {
  const { tables, entry } = twoPages(m, bits);
  m.start("long", [
    ...ENABLE_PCIDS,
    READ_X,
    ...setCr64("CR3", BigInt(tables.root) | 1n),
    ["Mov_r32_imm32", "EAX", (OTHER | bits | 0x80) | 0],
    ["Mov_rm32_r32", { disp: entry }, "EAX"],
    ...between,
    READ_X,
    ["Hlt"],
  ], { tables, cr4: CR4.PGE });
  m.runToHalt();
  return m.get("RBX");
}

test("PCIDs keep translations apart, and bit 63 keeps them (SDM 4.10.1, 4.10.4.1)", () => {
  const tables = m.identity();
  const keep = setCr64("CR3", BigInt(tables.root) | 1n << 63n);
  const drop = setCr64("CR3", BigInt(tables.root));
  assertEquals(pcidTrip(m, []), 2n);
  assertEquals(pcidTrip(m, keep), 1n);
  assertEquals(pcidTrip(m, drop), 2n);
});

test("INVPCID of each type (SDM vol. 2, INVPCID)", () => {
  const tables = m.identity();
  const keep = setCr64("CR3", BigInt(tables.root) | 1n << 63n);
  assertEquals(pcidTrip(m, [...invpcid(0, 0), ...keep]), 2n);
  assertEquals(pcidTrip(m, [...invpcid(0, 1), ...keep]), 1n);
  assertEquals(pcidTrip(m, [...invpcid(1, 0), ...keep]), 2n);
  assertEquals(pcidTrip(m, [...invpcid(1, 1), ...keep]), 1n);
  assertEquals(pcidTrip(m, [...invpcid(2, 0), ...keep]), 2n);
  assertEquals(pcidTrip(m, [...invpcid(3, 0), ...keep]), 2n);
  checkFaults(m, [
    illegal("type 4", "long", invpcid(4, 0)),
    illegal("reserved bits", "long", invpcid(0, 0x1000)),
    illegal("a PCID without PCIDE", "long", invpcid(1, 1)),
    illegal("level 3", "long", invpcid(2, 0), { cpl: 3 }),
  ]);
});

// --- Debug registers ---------------------------------------------------------------------

test("debug registers keep their fixed bits (SDM 18.2)", () => {
  m.start("protected32", [
    ["Xor_r32_rm32", "EAX", "EAX"],
    ["Mov_dr_r32", "DR6", "EAX"],
    ["Mov_dr_r32", "DR7", "EAX"],
    ["Mov_r32_dr", "EBX", "DR6"],
    ["Mov_r32_dr", "ECX", "DR5"],
    ["Hlt"],
  ]);
  m.runToHalt();
  assertEquals([m.get("RBX"), m.get("RCX")], [0xffff_0ff0n, 0x400n]);
});

test("DR4 and DR5 need CR4.DE clear; GD guards all (SDM 18.2.2, 18.2.4)", () => {
  const read: Op[] = [["Mov_r32_dr", "EBX", "DR4"]];
  checkFaults(m, [{
    name: "DR4 with DE",
    mode: "protected32",
    ops: read,
    vector: UD,
    options: { cr4: CR4.DE },
  }, {
    name: "GD",
    mode: "protected32",
    ops: read,
    vector: DB,
    prepare: (m) => m.set({ DR7: 0x2400 }),
  }, {
    ...illegal("level 3", "protected32", read, { cpl: 3 }),
  }, {
    ...illegal("upper half of DR7", "long", [
      ["Mov_r64_imm64", "RAX", 1n << 32n],
      ["Mov_dr_r64", "DR7", "RAX"],
    ]),
  }]);
  // The handler of #DB finds GD clear.
  m.start("protected32", read);
  m.set({ DR7: 0x2400 });
  assertEquals(m.runToHandler(), DB);
  assertEquals(m.get("DR7"), 0x400n);
  assertEquals(m.get("DR6") >> 13n & 1n, 1n);
});

test("TF traps after each instruction (SDM 18.3.1.4)", () => {
  m.start("long", [["Nopd"], ["Nopd"], ["Hlt"]], { flags: 0x102 });
  assertEquals(m.runToHandler(), DB);
  assertEquals(m.stack(3, 8), [AT.CODE + 1, SEL.CODE64, 0x102]);
});

// --- Fast system calls -------------------------------------------------------------------

const STAR = BigInt(SEL.CODE64) << 32n | BigInt(SEL.USER32) << 48n;

function prepareSyscall(m: SystemMachine): void {
  m.cpu.setMsr(MSR_STAR, STAR);
  m.cpu.setMsr(MSR_LSTAR, BigInt(AT.USER));
  m.cpu.setMsr(MSR_CSTAR, BigInt(AT.USER + 0x100));
  m.cpu.setMsr(MSR_SFMASK, BigInt(IF | 0x400));
}

test("SYSCALL and SYSRET (SDM 5.8.8)", () => {
  m.start("long", [["Syscall"], ["Ud2"]], {
    cpl: 3,
    efer: EFER.SCE,
    flags: IF | 0x402,
  });
  prepareSyscall(m);
  m.program(AT.USER, [["Mov_r64_rm64", "RBX", "R11"], ["Sysretq"]]);
  m.run(1);
  assertEquals([m.get("RIP"), m.get("CS"), m.get("SS")], [
    BigInt(AT.USER),
    BigInt(SEL.CODE64),
    BigInt(SEL.CODE64 + 8),
  ]);
  assertEquals(m.get("RFLAGS"), 2n);
  assertEquals(m.get("RCX"), BigInt(AT.CODE + 2));
  assertEquals(m.fault().rip, BigInt(AT.CODE + 2));
  assertEquals([m.get("CS"), m.get("SS")], [
    BigInt(SEL.USER64),
    BigInt(SEL.USER_DATA),
  ]);
  assertEquals(m.get("RFLAGS"), BigInt(IF | 0x402));
  assertEquals(m.cpu.getDescriptor(REGISTER.CS).access, 0xa0fb);
});

test("SYSRET to compatibility mode, SYSCALL from it (APM vol. 2, 6.1)", () => {
  m.start("long", [["Mov_r32_imm32", "ECX", AT.CODE + 0x100], ["Sysretd"]], {
    efer: EFER.SCE,
  });
  prepareSyscall(m);
  m.program(AT.CODE + 0x100, [["Syscall"]], 32);
  m.program(AT.USER + 0x100, [["Hlt"]]);
  assertEquals(m.runToHalt(), AT.USER + 0x100);
  assertEquals(m.get("RCX"), BigInt(AT.CODE + 0x102));
});

const notCanonical: readonly Op[] = [
  ["Mov_r64_imm64", "RCX", 0x8000_0000_0000n],
  ["Sysretq"],
];

test("what the vendors' system calls differ in (SDM vol. 2, APM vol. 3)", () => {
  const options = { efer: EFER.SCE };
  const user = { ...options, cpl: 3 };
  const sysenter: readonly Op[] = [["Sysenter"]];
  const invalid = (name: string, ops: readonly Op[]) => ({
    name,
    mode: "compat" as const,
    ops,
    vector: UD,
    options: user,
  });
  checkFaults(intel, [
    invalid("SYSCALL", [["Syscall"]]),
    illegal("SYSRET", "long", notCanonical, options),
    illegal("SYSENTER without CS", "compat", sysenter, user),
  ]);
  assertEquals(intel.get("CS"), BigInt(SEL.USER32));
  checkFaults(m, [
    invalid("SYSENTER", sysenter),
    illegal("SYSRET", "long", notCanonical, options),
  ]);
  // AMD's processors get there before they fault.
  assertEquals(m.get("RIP"), 0x8000_0000_0000n);
  checkFaults(m, [
    illegal("SYSRET at level 3", "long", [["Sysretq"]], user),
    {
      name: "SYSCALL without SCE",
      mode: "long",
      ops: [["Syscall"]],
      vector: UD,
      options: { cpl: 3 },
    },
  ]);
});

test("AMD's SYSCALL in protected mode (APM vol. 2, 6.1.1)", () => {
  m.start("protected32", [["Syscall"], ["Ud2"]], {
    cpl: 3,
    efer: EFER.SCE,
    flags: IF | 2,
  });
  m.cpu.setMsr(
    MSR_STAR,
    BigInt(AT.USER) | BigInt(SEL.CODE32) << 32n | BigInt(SEL.USER32) << 48n,
  );
  m.program(AT.USER, [["Nopd"], ["Sysretd"]]);
  m.run(1);
  assertEquals([m.get("RIP"), m.get("RFLAGS")], [BigInt(AT.USER), 2n]);
  assertEquals(m.cpu.getDescriptor(REGISTER.CS).access, 0xc09b);
  assertEquals(m.fault().rip, BigInt(AT.CODE + 2));
  assertEquals(m.get("RFLAGS"), BigInt(IF | 2));
});

Deno.test("SYSENTER and SYSEXIT (SDM 5.8.7)", () => {
  for (const mode of ["protected32", "compat"] as const) {
    intel.start(mode, [
      ["Mov_r32_imm32", "EDX", AT.CODE + 12],
      ["Mov_r32_imm32", "ECX", AT.STACK],
      ["Sysenter"],
      ["Ud2"],
    ], { cpl: 3, flags: IF | 2 });
    intel.cpu.setMsr(0x174, BigInt(SEL.CODE64));
    intel.cpu.setMsr(0x175, BigInt(AT.STACK0));
    intel.cpu.setMsr(0x176, BigInt(AT.USER));
    intel.program(AT.USER, [["Sysexitd"]], 32);
    intel.run(3);
    assertEquals([intel.get("RIP"), intel.get("RSP")], [
      BigInt(AT.USER),
      BigInt(AT.STACK0),
    ]);
    assertEquals(intel.get("RFLAGS"), 2n);
    const access = intel.cpu.getDescriptor(REGISTER.CS).access;
    assertEquals(access, mode === "compat" ? 0xa09b : 0xc09b);
    assertEquals(intel.fault().rip, BigInt(AT.CODE + 12));
    assertEquals(intel.get("CS"), BigInt(SEL.CODE64 + 16 | 3));
    assertEquals(intel.get("SS"), BigInt(SEL.CODE64 + 24 | 3));
  }
});

test("SWAPGS (SDM vol. 2, SWAPGS)", () => {
  m.start("long", [["Swapgs"], ["Hlt"]]);
  m.set({ GS_BASE: 0x1234, KGS_BASE: 0xffff_8000_0000_0000n });
  m.runToHalt();
  assertEquals(m.get("GS_BASE"), 0xffff_8000_0000_0000n);
  assertEquals(m.get("KGS_BASE"), 0x1234n);
  checkFaults(m, [
    illegal("level 3", "long", [["Swapgs"]], { cpl: 3 }),
    {
      name: "compatibility mode",
      mode: "compat",
      ops: [],
      vector: UD,
      prepare: (m) => m.poke(AT.CODE, "0f01f8"),
    },
  ]);
});

// --- The rest ------------------------------------------------------------------------------

test("level 0's instructions raise #GP(0) elsewhere (SDM 5.9)", () => {
  const ops: Op[] = [
    ["Hlt"],
    ["Invd"],
    ["Wbinvd"],
    ["Rdmsr"],
    ["Wrmsr"],
    ["Invlpg_m", { disp: X }],
    ["Lgdt_m1632", { disp: 0x5000 }],
    ["Lidt_m1632", { disp: 0x5000 }],
    ["Lmsw_r32m16", "EAX"],
    ["Mov_r32_cr", "EAX", "CR2"],
    ["Rdpmc"],
  ];
  checkFaults(
    m,
    ops.map((op) => illegal(op[0], "protected32", [op], { cpl: 3 })),
  );
});

test("RDMSR and WRMSR use EDX:EAX and fault on what is not there (SDM vol. 2)", () => {
  m.start("long", [
    ...wrmsr(MSR_LSTAR, 0xffff_8000_1234_5678n),
    ["Rdmsr"],
    ["Hlt"],
  ]);
  m.set({ RDX: 0xffff_ffff_0000_0000n });
  m.runToHalt();
  assertEquals(m.cpu.getMsr(MSR_LSTAR), 0xffff_8000_1234_5678n);
  assertEquals([m.get("RAX"), m.get("RDX")], [0x1234_5678n, 0xffff_8000n]);
  checkFaults(m, [
    illegal(
      "not canonical",
      "long",
      wrmsr(MSR_LSTAR, 0x8000_0000_0000n),
    ),
  ]);
});

test("HLT retires and exits (SDM vol. 2, HLT; vmm(4) HLT)", () => {
  m.start("long", [["Hlt"]], { flags: IF | 2 });
  const exit = m.run();
  assertEquals(exit.code, EXIT_CODE.HLT);
  assertEquals("rflags" in exit && exit.rflags, BigInt(IF | 2));
  assertEquals(m.get("RIP"), BigInt(AT.CODE + 1));
});

test("STAC and CLAC open and close user pages (SDM 4.6.1)", () => {
  const tables = m.identity();
  tables.map(X, 0x20_0000, 7, 2 << 20);
  const code = tables.map(0, 0, 3, 2 << 20);
  assertEquals(code > 0, true);
  const options = { tables, cr4: CR4.SMAP };
  m.start("long", [["Stac"], READ_X, ["Clac"], READ_X], options);
  const { vector, error, rip } = m.fault();
  assertEquals([vector, error], [PF, 1]);
  assertEquals(rip, BigInt(AT.CODE + 3 + 7 + 3));
  checkFaults(m, [
    { name: "without SMAP", mode: "long", ops: [["Stac"]], vector: UD },
    {
      name: "level 3",
      mode: "protected32",
      ops: [["Clac"]],
      vector: UD,
      options: { cpl: 3, cr4: CR4.SMAP },
    },
  ]);
});

test("CR8 has four bits (SDM 11.8.6.1)", () => {
  m.start("long", [...setCr64("CR8", 9), ["Mov_r64_cr", "RBX", "CR8"], [
    "Hlt",
  ]]);
  m.runToHalt();
  assertEquals([m.get("RBX"), m.get("TPR")], [9n, 9n]);
  checkFaults(m, [illegal("bit 4", "long", setCr64("CR8", 16))]);
});

test("XGETBV needs OSXSAVE (SDM vol. 2, XGETBV)", () => {
  m.start("long", []);
  // The decoder may lack it by CPUID, which is #UD as well.
  m.poke(AT.CODE, "0f01d0");
  assertEquals(m.fault().vector, UD);
});

test("RSM outside system management mode is #UD (SDM vol. 2, RSM)", () => {
  checkFaults(m, [{ name: "RSM", mode: "long", ops: [["Rsm"]], vector: UD }]);
});
