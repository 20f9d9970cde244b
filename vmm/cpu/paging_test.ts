// Paging (Intel SDM vol. 3, chapter 4): every mode and page size, rights against a
// model of 4.6.1, reserved bits, accessed and dirty bits, invalidation, page crossing.

import { assert, assertEquals } from "@std/assert";
import {
  CR0,
  CR4,
  EFER,
  type EnterOptions,
  type ModeName,
  NX,
  PageTables,
  type PagingName,
  PTE,
  type Raised,
  TestMachine,
  testTiers,
} from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";
import { TLB_ENTRIES } from "./state.ts";

const { P, RW, US, A, D, PS, G } = PTE;
const CODE = 0x8000;
const USER_CODE = 0x9000;
const DATA = 0x40_0000;
const PAGE = 0x20_0000;
const OTHER = 0x21_0000;
const TABLES = 0x80_0000;
const UD2 = "0f0b";
/** "mov eax, [rbx]" and "mov [rbx], eax" (with EBX and BX likewise). */
const LOAD = "8b03";
const STORE = "8903";
const JUMP = "ffe3";
const AC = 1 << 18;

type Kind = Exclude<PagingName, "none">;
const KINDS: readonly Kind[] = ["legacy", "pae", "long"];
const MODE_OF: Readonly<Record<Kind, ModeName>> = {
  legacy: "protected32",
  pae: "protected32",
  long: "long",
};

interface Setup {
  readonly machine: TestMachine;
  readonly tables: PageTables;
}

// Code at CODE (supervisor) and USER_CODE (user) is there in every mode.
function setup(kind: Kind, machine = new TestMachine()): Setup {
  const tables = new PageTables(machine, kind, TABLES);
  tables.map(CODE, CODE, P | RW);
  tables.map(USER_CODE, USER_CODE, P | RW | US);
  return { machine, tables };
}

interface Attempt extends EnterOptions {
  /** address in RBX */
  readonly at?: bigint;
  readonly program: string;
}

// Runs a program up to its exception, in the mode of its page tables.
function attempt({ machine, tables }: Setup, options: Attempt): Raised {
  const isUser = options.cpl === 3;
  const code = isUser ? USER_CODE : CODE;
  machine.enter(MODE_OF[tables.kind], { ...options, tables });
  machine.set({
    RIP: code,
    RBX: options.at ?? BigInt(DATA),
    RSP: code + 0x800,
  });
  machine.poke(code, options.program + UD2);
  return machine.runToException();
}

function errorOf(raised: Raised): number | undefined {
  if (raised.vector === VECTOR.UD) return undefined;
  assertEquals(raised.vector, VECTOR.PF);
  assertEquals(raised.cr2, BigInt(DATA));
  return raised.error;
}

// --- Rights ------------------------------------------------------------------

interface Rights {
  readonly kind: Kind;
  readonly access: "read" | "write" | "fetch";
  readonly isUser: boolean;
  /** bits of the leaf and of the entry above it */
  readonly leaf: number;
  readonly upper: number;
  readonly nx: boolean;
  readonly nxe: boolean;
  readonly wp: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly ac: boolean;
}

// The error code that SDM 4.6.1 and 4.7 give, or undefined where all is well.
function expectedError(r: Rights): number | undefined {
  const isPae = r.kind !== "legacy";
  const showsFetch = r.access === "fetch" && (isPae && r.nxe || r.smep);
  const base = (r.access === "write" ? 2 : 0) | (r.isUser ? 4 : 0) |
    (showsFetch ? 16 : 0);
  if ((r.leaf & P) === 0) return base;
  if (isPae && r.nx && !r.nxe) return base | 9;
  const isUserPage = (r.leaf & r.upper & US) !== 0;
  const isWritable = (r.leaf & r.upper & RW) !== 0;
  return isAllowed(r, isUserPage, isWritable) ? undefined : base | 1;
}

function isAllowed(r: Rights, userPage: boolean, writable: boolean): boolean {
  if (r.isUser && !userPage) return false;
  if (r.access === "fetch") {
    if (r.kind !== "legacy" && r.nx) return false;
    return r.isUser || !(r.smep && userPage);
  }
  if (!r.isUser && userPage && r.smap && !r.ac) return false;
  return r.access === "read" || writable || !r.isUser && !r.wp;
}

const PROGRAM = { read: LOAD, write: STORE, fetch: JUMP };
const BOTH = [false, true];

function checkRights(s: Setup, r: Rights): void {
  const { machine, tables } = s;
  const leaf = tables.entry(BigInt(DATA));
  const directory = tables.entry(
    BigInt(DATA),
    r.kind === "legacy" ? 4 << 20 : 2 << 20,
  );
  const directoryBits = BigInt(r.upper) | tables.read(directory) & 0xffff_f000n;
  const nx = r.nx && r.kind !== "legacy" ? NX : 0n;
  tables.write(directory, directoryBits);
  tables.write(leaf, BigInt(PAGE | r.leaf) | nx);
  const raised = attempt(s, {
    program: PROGRAM[r.access],
    cpl: r.isUser ? 3 : 0,
    cr0: r.wp ? CR0.WP : 0,
    cr4: (r.smep ? CR4.SMEP : 0) | (r.smap ? CR4.SMAP : 0),
    efer: r.nxe ? EFER.NXE : 0,
    flags: r.ac ? 2 | AC : 2,
  });
  const expected = expectedError(r);
  assertEquals(errorOf(raised), expected, JSON.stringify(r));
  const bits = Number(tables.read(leaf) & BigInt(A | D));
  const wanted = expected !== undefined ? 0 : r.access === "write" ? A | D : A;
  assertEquals(bits, wanted, `A and D: ${JSON.stringify(r)}`);
  if (expected === undefined) {
    assertEquals(Number(tables.read(directory)) & (A | D), A);
  }
  machine.poke(PAGE, UD2);
}

for (const kind of KINDS) {
  Deno.test(`${kind} paging grants the rights of SDM 4.6.1`, () => {
    const s = setup(kind);
    s.machine.poke(PAGE, UD2);
    for (let n = 0; n < 1 << 11; n++) {
      const bit = (b: number) => (n >> b & 1) !== 0;
      for (const access of ["read", "write", "fetch"] as const) {
        for (const isUser of BOTH) {
          // AC matters only to supervisor data accesses under SMAP.
          if (bit(10) && (isUser || access === "fetch")) continue;
          checkRights(s, {
            kind,
            access,
            isUser,
            leaf: (bit(0) ? P : 0) | (bit(1) ? RW : 0) | (bit(2) ? US : 0),
            upper: P | (bit(3) ? RW : 0) | (bit(4) ? US : 0),
            nx: bit(5),
            nxe: bit(6),
            wp: bit(7),
            smep: bit(8),
            smap: bit(9),
            ac: bit(10),
          });
        }
      }
    }
  });
}

// --- Page sizes --------------------------------------------------------------

interface SizeCase {
  readonly kind: Kind;
  readonly size: number;
  readonly cr4?: number;
  readonly efer?: number;
}

const SIZES: readonly SizeCase[] = [
  { kind: "legacy", size: 4096 },
  { kind: "legacy", size: 4 << 20, cr4: CR4.PSE },
  { kind: "pae", size: 4096 },
  { kind: "pae", size: 2 << 20 },
  { kind: "long", size: 4096 },
  { kind: "long", size: 2 << 20 },
  { kind: "long", size: 1 << 30 },
];

for (const { kind, size, cr4 = 0 } of SIZES) {
  testTiers(`${kind} paging maps pages of ${size} bytes`, () => {
    const s = setup(kind);
    const linear = 0x8000_0000n;
    const offset = size === 4096 ? 0xabc : 0x6_5abc;
    // A 1 GiB page begins at 0, others at a distinct address.
    const physical = size > 4 << 20 ? 0 : size === 4096 ? PAGE : 12 << 20;
    const entry = s.tables.map(linear, physical, P | RW, size);
    s.machine.poke32(physical + offset, 0x1357_9bdf);
    const at = linear + BigInt(offset);
    const raised = attempt(s, { program: LOAD + STORE, at, cr4 });
    assertEquals(raised.vector, VECTOR.UD);
    assertEquals(s.machine.get("RAX"), 0x1357_9bdfn);
    assertEquals(Number(s.tables.read(entry)) & (A | D), A | D);
    const high = attempt(s, { program: LOAD, at: linear - 4n, cr4 });
    assertEquals(high.cr2, linear - 4n);
  });
}

testTiers("without CR4.PSE a 4 MiB entry is a page table", () => {
  const s = setup("legacy");
  const linear = 0xc000_0000n;
  const leaf = s.tables.map(linear, PAGE, P | RW);
  const directory = s.tables.entry(linear, 4 << 20);
  s.tables.write(directory, s.tables.read(directory) | BigInt(PS));
  s.machine.poke32(PAGE, 77);
  attempt(s, { program: LOAD, at: linear });
  assertEquals(s.machine.get("RAX"), 77n);
  assertEquals(Number(s.tables.read(leaf)) & A, A);
});

testTiers("PSE-36 puts bits 20:13 of an entry above 4 GiB", () => {
  const machine = new TestMachine({ size: 32 << 20 });
  const high = 0x23_0040_0000;
  machine.memory.unmap(0, machine.memory.size);
  const half = machine.memory.size / 2;
  machine.memory.map({ gpa: 0, length: half, offset: 0, writable: true });
  machine.memory.map({ gpa: high, length: half, offset: half, writable: true });
  const s = setup("legacy", machine);
  s.tables.write(
    s.tables.entry(0x8000_0000n, 4 << 20),
    BigInt(0x40_0000 | 0x23 << 13 | P | RW | PS),
  );
  machine.poke32(half + 0x1234, 4321);
  attempt(s, { program: LOAD, at: 0x8000_1234n, cr4: CR4.PSE });
  assertEquals(machine.get("RAX"), 4321n);
});

testTiers("without paging, linear addresses are physical", () => {
  const machine = new TestMachine();
  machine.poke(CODE, LOAD + UD2);
  machine.poke32(PAGE, 99);
  machine.enter("protected32");
  machine.set({ RIP: CODE, RBX: PAGE });
  assertEquals(machine.runToException().vector, VECTOR.UD);
  assertEquals(machine.get("RAX"), 99n);
});

testTiers("tables in read-only memory are used, and stay as they are", () => {
  for (const kind of KINDS) {
    const s = setup(kind);
    const { memory } = s.machine;
    s.tables.map(0x8000_0000n, PAGE, P | RW);
    const [from, to] = [s.tables.root, s.tables.root + (1 << 20)];
    memory.unmap(0, memory.size);
    for (
      const [gpa, end, writable] of [
        [0, from, true],
        [from, to, false],
        [to, memory.size, true],
      ] as const
    ) {
      memory.map({ gpa, length: end - gpa, offset: gpa, writable });
    }
    const before = memory.bytes.slice(from, to);
    for (const program of [LOAD, STORE]) {
      const raised = attempt(s, { program, at: 0x8000_0000n });
      assertEquals(raised.vector, VECTOR.UD, `${kind} ${raised.cr2}`);
    }
    assertEquals(memory.bytes.subarray(from, to), before);
  }
});

testTiers("a missing entry of any level faults as not present", () => {
  for (const kind of KINDS) {
    const s = setup(kind);
    const far = kind === "long" ? 0x7f00_0000_0000n : 0xff00_0000n;
    const raised = attempt(s, { program: STORE, at: far });
    assertEquals([raised.vector, raised.error, raised.cr2], [14, 2, far]);
    assertEquals(raised.rip, BigInt(CODE));
  }
});

// --- Reserved bits -----------------------------------------------------------

interface ReservedCase {
  readonly kind: Kind;
  readonly size: number;
  /** what the entry at this size maps */
  readonly bits: readonly number[];
  readonly isLarge?: boolean;
  readonly cr4?: number;
}

function range(low: number, high: number): number[] {
  return Array.from({ length: high - low + 1 }, (_, n) => low + n);
}

const TOO_WIDE = range(40, 51);
const RESERVED: readonly ReservedCase[] = [
  { kind: "long", size: 4096, bits: TOO_WIDE },
  { kind: "long", size: 2 << 20, bits: TOO_WIDE },
  { kind: "long", size: 1 << 30, bits: TOO_WIDE },
  { kind: "long", size: 2 ** 39, bits: [7, ...TOO_WIDE] },
  {
    kind: "long",
    size: 2 << 20,
    isLarge: true,
    bits: [...range(13, 20), ...TOO_WIDE],
  },
  {
    kind: "long",
    size: 1 << 30,
    isLarge: true,
    bits: [...range(13, 29), ...TOO_WIDE],
  },
  { kind: "pae", size: 4096, bits: range(40, 62) },
  { kind: "pae", size: 2 << 20, bits: range(40, 62) },
  {
    kind: "pae",
    size: 2 << 20,
    isLarge: true,
    bits: [...range(13, 20), ...range(40, 62)],
  },
  { kind: "legacy", size: 4 << 20, isLarge: true, bits: [21], cr4: CR4.PSE },
];

Deno.test("reserved bits of every kind of entry fault with RSVD", () => {
  for (const { kind, size, bits, isLarge, cr4 = 0 } of RESERVED) {
    for (const bit of bits) {
      const s = setup(kind);
      // Apart from the code at every level.
      const at = kind === "long" ? 0x80_8040_0000n : 0x8040_0000n;
      if (isLarge) s.tables.map(at, 0, P | RW | US, size);
      else s.tables.map(at, PAGE, P | RW | US);
      const entry = s.tables.entry(at, size);
      s.tables.write(entry, s.tables.read(entry) | 1n << BigInt(bit));
      const raised = attempt(s, { program: STORE, at, cr4 });
      const what = `${kind} entry of ${size} bytes, bit ${bit}`;
      assertEquals([raised.vector, raised.error], [14, 11], what);
      assertEquals(raised.cr2, at, what);
    }
  }
});

testTiers("bits 62:52 are ignored by 4-level paging", () => {
  const s = setup("long");
  for (const bit of range(52, 62)) {
    s.tables.map(DATA, PAGE, BigInt(P | RW) | 1n << BigInt(bit));
    assertEquals(attempt(s, { program: LOAD }).vector, VECTOR.UD);
  }
});

testTiers("CPUID's physical width decides which bits are reserved", () => {
  const machine = new TestMachine({ cpuid: { physicalBits: 46 } });
  const s = setup("long", machine);
  s.tables.map(DATA, BigInt(PAGE) | 1n << 46n, P);
  assertEquals(attempt(s, { program: LOAD }).error, 9);
  s.tables.map(DATA, BigInt(PAGE) | 1n << 45n, P);
  // Device memory: no fault, but an access that leaves the CPU.
  s.machine.enter("long", { tables: s.tables });
  s.machine.set({ RIP: CODE, RBX: DATA });
  const exit = s.machine.run();
  assert("gpa" in exit && exit.gpa === PAGE + 2 ** 45);
});

// --- Canonical addresses -----------------------------------------------------

testTiers(
  "an address that is not canonical is #GP(0), on the stack #SS(0)",
  () => {
    const low = 0x0000_8000_0000_0000n;
    const high = 0xffff_7fff_ffff_ffffn;
    const cases: [string, bigint, number][] = [
      [LOAD, low, VECTOR.GP],
      [LOAD, high - 3n, VECTOR.GP],
      [STORE, low, VECTOR.GP],
      [JUMP, low, VECTOR.GP],
      // mov eax, [rbx + rbp*1] keeps DS; mov eax, [rbp + 0] and [rsp] use SS
      ["4889dd 8b4500", low, VECTOR.SS],
      ["4889dd 894500", high, VECTOR.SS],
      ["4889dc 8b0424", low, VECTOR.SS],
      ["4889dc 50", low + 8n, VECTOR.SS],
      ["4889dc 58", low, VECTOR.SS],
      // mov rax, [rbx] across the edge
      ["488b03", low - 4n, VECTOR.GP],
      ["488903", low - 1n, VECTOR.GP],
      ["0f1003", low - 8n, VECTOR.GP],
    ];
    const s = setup("long");
    s.tables.map(low - 4096n, PAGE, P | RW);
    for (const [program, at, vector] of cases) {
      const raised = attempt(s, { program, at, cr4: CR4.OSFXSR });
      assertEquals([raised.vector, raised.error], [vector, 0], program);
    }
  },
);

testTiers("the last canonical bytes of each half can be used", () => {
  const s = setup("long");
  const low = 0x0000_8000_0000_0000n;
  s.tables.map(low - 4096n, PAGE, P | RW);
  s.tables.map(0xffff_8000_0000_0000n, PAGE, P | RW);
  s.tables.map(0xffff_ffff_ffff_f000n, PAGE, P | RW);
  for (const at of [low - 8n, 0xffff_8000_0000_0000n, -8n]) {
    const raised = attempt(s, { program: "488b03488903", at });
    assertEquals(raised.vector, VECTOR.UD);
  }
});

// --- Invalidation ------------------------------------------------------------

/** Runs the first `count` instructions, changes the tables, and runs the rest. */
function acrossChange(
  s: Setup,
  options: Attempt & { readonly count?: number; readonly rcx?: bigint },
  change: () => void,
): Raised {
  const { machine, tables } = s;
  machine.enter(MODE_OF[tables.kind], { ...options, tables });
  machine.poke(CODE, options.program + UD2);
  machine.set({
    RIP: CODE,
    RBX: options.at ?? BigInt(DATA),
    RCX: options.rcx ?? 0n,
    RSP: CODE + 0x800,
  });
  machine.run(options.count ?? 1);
  change();
  return machine.runToException();
}

// mov eax, [rbx]; OPERATION; mov edx, [rbx]
function loadTwice(operation: string): string {
  return `8b03 ${operation} 8b13`;
}

interface InvalidationCase {
  readonly name: string;
  readonly operation: string;
  readonly cr4?: number;
  readonly leaf?: number;
  /** whether the old translation may still be used: then it must be here */
  readonly survives?: boolean;
  readonly rcx?: bigint;
}

const CHANGES: readonly InvalidationCase[] = [
  { name: "INVLPG", operation: "0f013b" },
  { name: "INVLPG of another byte", operation: "0f01bbff0f0000" },
  { name: "INVLPG, global", operation: "0f013b", cr4: CR4.PGE, leaf: G },
  { name: "MOV CR3", operation: "0f20d8 0f22d8" },
  { name: "MOV CR3, G without PGE", operation: "0f20d8 0f22d8", leaf: G },
  {
    name: "MOV CR3, global",
    operation: "0f20d8 0f22d8",
    cr4: CR4.PGE,
    leaf: G,
    survives: true,
  },
  {
    name: "MOV CR3 twice, global",
    operation: "0f20d8 0f22d8 0f22d8",
    cr4: CR4.PGE,
    leaf: G,
    survives: true,
  },
  {
    name: "MOV CR3 and CR4, PGE",
    operation: "0f20d8 0f22d8 0f20e0 480fbaf807 0f22e0 480fbaf807 0f22e0",
    cr4: CR4.PGE,
    leaf: G,
  },
  {
    // mov rax, cr4; btc rax, 7; mov cr4, rax; btc rax, 7; mov cr4, rax
    name: "MOV CR4, PGE",
    operation: "0f20e0 480fbaf807 0f22e0 480fbaf807 0f22e0",
    cr4: CR4.PGE,
    leaf: G,
  },
  {
    // the same of SMEP, which is set
    name: "MOV CR4, SMEP 0 to 1",
    operation: "0f20e0 480fbaf814 0f22e0",
  },
  {
    // sub rsp, 16; mov qword [rsp], 0; mov [rsp+8], rbx; xor ecx, ecx; invpcid rcx, [rsp]
    name: "INVPCID of an address",
    operation:
      "4883ec10 48c7042400000000 48895c2408 31c9 660f38820c24 4883c410",
  },
  {
    // mov ecx, 1: one context
    name: "INVPCID of a context",
    operation:
      "4883ec10 48c7042400000000 48895c2408 b901000000 660f38820c24 4883c410",
  },
  {
    name: "INVPCID of a context, global",
    operation:
      "4883ec10 48c7042400000000 48895c2408 b901000000 660f38820c24 4883c410",
    cr4: CR4.PGE,
    leaf: G,
    survives: true,
  },
  {
    name: "INVPCID of all, global too",
    operation:
      "4883ec10 48c7042400000000 48895c2408 b902000000 660f38820c24 4883c410",
    cr4: CR4.PGE,
    leaf: G,
  },
  {
    name: "INVPCID of all but global",
    operation:
      "4883ec10 48c7042400000000 48895c2408 b903000000 660f38820c24 4883c410",
  },
  {
    name: "INVPCID of all but global, global",
    operation:
      "4883ec10 48c7042400000000 48895c2408 b903000000 660f38820c24 4883c410",
    cr4: CR4.PGE,
    leaf: G,
    survives: true,
  },
];

for (const c of CHANGES) {
  testTiers(`${c.name} ${c.survives ? "keeps" : "drops"} a translation`, () => {
    const s = setup("long");
    s.machine.poke32(PAGE, 1);
    s.machine.poke32(OTHER, 2);
    const bits = P | RW | (c.leaf ?? 0);
    s.tables.map(DATA, PAGE, bits);
    const raised = acrossChange(
      s,
      { program: loadTwice(c.operation), cr4: c.cr4 ?? 0 },
      () => s.tables.map(DATA, OTHER, bits),
    );
    assertEquals(raised.vector, VECTOR.UD);
    assertEquals(s.machine.get("RDX"), c.survives ? 1n : 2n);
  });
}

testTiers("MOV CR3 drops what took the place of a global translation", () => {
  const s = setup("long");
  const rival = DATA + 4096 * TLB_ENTRIES;
  s.machine.poke32(PAGE, 1);
  s.machine.poke32(OTHER, 2);
  s.tables.map(DATA, PAGE, P | RW | G);
  s.tables.map(rival, PAGE, P | RW);
  // mov eax, [rbx]; mov rax, cr3; mov cr3, rax; mov eax, [rcx]; and after the change
  // mov rax, cr3; mov cr3, rax; mov edx, [rcx]
  const program = "8b03 0f20d8 0f22d8 8b01 0f20d8 0f22d8 8b11";
  const raised = acrossChange(
    s,
    { program, cr4: CR4.PGE, count: 4, rcx: BigInt(rival) },
    () => s.tables.map(rival, OTHER, P | RW),
  );
  assertEquals(raised.vector, VECTOR.UD);
  assertEquals(s.machine.get("RDX"), 2n);
});

testTiers("INVLPG drops a large page whole", () => {
  for (const size of [2 << 20, 1 << 30]) {
    const s = setup("long");
    const linear = 0x40_0000_0000n;
    s.tables.map(linear, 0, P | RW, size);
    s.machine.poke32(0x1000, 1);
    s.machine.poke32(0x1000 + 0x20_0000, 2);
    // INVLPG names the page's last 4 KiB, the loads its second.
    const operation = `0f01bb${size === 2 << 20 ? "00e01f00" : "00e0ff3f"}`;
    const raised = acrossChange(
      s,
      { program: loadTwice(operation), at: linear + 0x1000n },
      () => {
        const entry = s.tables.entry(linear, size);
        s.tables.write(entry, 0n);
      },
    );
    assertEquals(raised.vector, VECTOR.PF, `${size}`);
  }
});

testTiers("a translation that was not present is not remembered", () => {
  for (const kind of KINDS) {
    const s = setup(kind);
    s.machine.poke32(PAGE, 5);
    s.tables.map(DATA, PAGE, 0);
    assertEquals(attempt(s, { program: LOAD }).vector, VECTOR.PF);
    s.tables.map(DATA, PAGE, P);
    assertEquals(s.machine.runToException().vector, VECTOR.UD);
    assertEquals(s.machine.get("RAX"), 5n);
  }
});

testTiers("rights that were added need no invalidation after a fault", () => {
  for (const kind of KINDS) {
    const s = setup(kind);
    s.tables.map(DATA, PAGE, P | US);
    const raised = attempt(s, { program: LOAD + STORE, cr0: CR0.WP });
    assertEquals([raised.vector, raised.error], [VECTOR.PF, 3]);
    s.tables.map(DATA, PAGE, P | RW | US);
    assertEquals(s.machine.runToException().vector, VECTOR.UD);
  }
});

testTiers("a load does not make a page dirty, the next store does", () => {
  for (const kind of KINDS) {
    const s = setup(kind);
    const leaf = s.tables.map(DATA, PAGE, P | RW);
    acrossChange(s, { program: LOAD + STORE }, () => {
      assertEquals(Number(s.tables.read(leaf)) & (A | D), A);
    });
    assertEquals(Number(s.tables.read(leaf)) & (A | D), A | D);
  }
});

testTiers("a dirty bit that was cleared is set again after INVLPG", () => {
  const s = setup("long");
  const leaf = s.tables.map(DATA, PAGE, P | RW);
  acrossChange(s, { program: `${STORE} 0f013b ${STORE}` }, () => {
    assertEquals(Number(s.tables.read(leaf)) & D, D);
    s.tables.map(DATA, PAGE, P | RW);
  });
  assertEquals(Number(s.tables.read(leaf)) & (A | D), A | D);
});

testTiers("CR0.WP takes effect at once", () => {
  const s = setup("long");
  s.tables.map(DATA, PAGE, P);
  // mov [rbx], eax; mov rax, cr0; bts rax, 16; mov cr0, rax; mov [rbx], eax
  const raised = attempt(s, {
    program: `${STORE} 0f20c0 480fbae810 0f22c0 ${STORE}`,
  });
  assertEquals([raised.vector, raised.error], [VECTOR.PF, 3]);
  assertEquals(raised.rip, BigInt(CODE + 13));
});

testTiers("CR4.SMAP, STAC and CLAC take effect at once", () => {
  const s = setup("long");
  s.tables.map(DATA, PAGE, P | RW | US);
  // load; set CR4.SMAP; stac; load; clac; load
  const raised = attempt(s, {
    program: `${LOAD} 0f20e0 480fbae815 0f22e0 0f01cb ${LOAD} 0f01ca ${LOAD}`,
  });
  assertEquals([raised.vector, raised.error], [VECTOR.PF, 1]);
  assertEquals(raised.rip, BigInt(CODE + 21));
});

testTiers("EFER.NXE takes effect at once", () => {
  const s = setup("long");
  s.machine.poke(PAGE, "c3");
  s.tables.map(DATA, PAGE, BigInt(P | RW));
  // call rbx; mov ecx, 0xc0000080; rdmsr; bts eax, 11; wrmsr; call rbx
  const program = "ffd3 b9800000c0 0f32 0fbae80b 0f30 ffd3";
  const raised = acrossChange(s, { program, count: 2 }, () => {
    s.tables.map(DATA, PAGE, BigInt(P | RW) | NX);
  });
  assertEquals([raised.vector, raised.error], [VECTOR.PF, 17]);
});

testTiers("user and supervisor accesses have rights of their own", () => {
  const s = setup("long");
  s.tables.map(DATA, PAGE, P | RW);
  assertEquals(attempt(s, { program: LOAD }).vector, VECTOR.UD);
  const raised = attempt(s, { program: LOAD, cpl: 3 });
  assertEquals([raised.vector, raised.error], [VECTOR.PF, 5]);
});

// --- PCID --------------------------------------------------------------------

// Two address spaces that share their code: DATA is PAGE in one, OTHER in two.
function twoSpaces() {
  const machine = new TestMachine();
  const one = setup("long", machine);
  const two = new PageTables(machine, "long", TABLES + 0x10_0000);
  two.map(CODE, CODE, P | RW);
  one.tables.map(DATA, PAGE, P | RW);
  two.map(DATA, OTHER, P | RW);
  machine.poke32(PAGE, 1);
  machine.poke32(OTHER, 2);
  const cr3 = (tables: PageTables, pcid: number, keep = false) =>
    BigInt(tables.root | pcid) | (keep ? 1n << 63n : 0n);
  return { machine, one, two, cr3 };
}

interface SwitchCase {
  readonly name: string;
  /** CR3 values loaded in turn */
  readonly first: bigint;
  readonly second: bigint;
}

// load; mov cr3, rcx; load into EDX; mov cr3, rsi; load into EDI
const SWITCHES = "8b03 0f22d9 8b13 0f22de 8b3b";

function runSwitches(
  values: SwitchCase,
  change: (machine: TestMachine, one: PageTables) => void = () => {},
) {
  const { machine, one } = twoSpaces();
  machine.enter("long", { tables: one.tables, cr4: CR4.PCIDE });
  machine.poke(CODE, SWITCHES + UD2);
  machine.set({
    RIP: CODE,
    RBX: DATA,
    RCX: values.first,
    RSI: values.second,
    CR3: one.tables.root | 1,
  });
  machine.run(3);
  change(machine, one.tables);
  const raised = machine.runToException();
  return {
    raised,
    rax: machine.get("RAX"),
    rdx: machine.get("RDX"),
    rdi: machine.get("RDI"),
  };
}

testTiers(
  "address spaces with PCIDs do not see each other's translations",
  () => {
    const { cr3, one, two } = twoSpaces();
    for (const keep of [false, true]) {
      const { raised, rax, rdx, rdi } = runSwitches({
        name: "there and back",
        first: cr3(two, 2, keep),
        second: cr3(one.tables, 1, keep),
      });
      assertEquals(raised.vector, VECTOR.UD);
      assertEquals([rax, rdx, rdi], [1n, 2n, 1n]);
    }
  },
);

testTiers("MOV CR3 drops the translations of the PCID that it loads", () => {
  const { cr3, one, two } = twoSpaces();
  const { rdi } = runSwitches({
    name: "back with a flush",
    first: cr3(two, 2),
    second: cr3(one.tables, 1),
  }, (_, tables) => tables.map(DATA, OTHER, P | RW));
  assertEquals(rdi, 2n);
});

testTiers("MOV CR3 with bit 63 keeps the translations of its PCID", () => {
  const { cr3, one, two } = twoSpaces();
  const { rdi } = runSwitches({
    name: "back without a flush",
    first: cr3(two, 2, true),
    second: cr3(one.tables, 1, true),
  }, (_, tables) => tables.map(DATA, OTHER, P | RW));
  assertEquals(rdi, 1n);
});

// Calls what is at DATA, in one space and in the other, five times; the sum is in EDI.
// L: call rbx; add edi, eax; mov cr3, rcx; call rbx; add edi, eax; mov cr3, rsi;
// dec ebp; jnz L
const CALLS = "ffd3 01c7 0f22d9 ffd3 01c7 0f22de ffcd 75ee";

for (const cr4 of [0, CR4.PGE, CR4.PCIDE, CR4.PGE | CR4.PCIDE]) {
  for (const keep of [false, true]) {
    if (keep && !(cr4 & CR4.PCIDE)) continue;
    const what = `CR4 ${cr4.toString(16)}${keep ? " and bit 63" : ""}`;

    testTiers(`code at one address is each space's own, with ${what}`, () => {
      const { machine, one, two, cr3 } = twoSpaces();
      const global = cr4 & CR4.PGE ? G : 0;
      for (const tables of [one.tables, two]) {
        tables.map(CODE, CODE, P | RW | global);
      }
      // mov eax, ...; ret
      machine.poke(PAGE, "b801000000 c3");
      machine.poke(OTHER, "b800010000 c3");
      machine.enter("long", { tables: one.tables, cr4 });
      machine.poke(CODE, CALLS + UD2);
      const pcids = cr4 & CR4.PCIDE ? [1, 2] as const : [0, 0] as const;
      machine.set({
        RIP: CODE,
        RSP: CODE + 0x800,
        RBX: DATA,
        RCX: cr3(two, pcids[1], keep),
        RSI: cr3(one.tables, pcids[0], keep),
        RBP: 5,
        RDI: 0,
        CR3: one.tables.root | pcids[0],
      });
      assertEquals(machine.runToException().vector, VECTOR.UD);
      assertEquals(machine.get("RDI"), 0x505n);
    });
  }
}

for (const size of [4096, 2 << 20]) {
  testTiers(`INVLPG drops where code of a page of ${size} bytes was`, () => {
    // L: call rbx; add edi, eax; mov [rcx], rsi; invlpg [rbx]; xchg rsi, rdx; dec ebp;
    // jnz L
    const program = "ffd3 01c7 488931 0f013b 4887d6 ffcd 75ef";
    const s = setup("long");
    const linear = 0x40_0000_0000n;
    s.tables.map(linear, 0, P | RW, size);
    const entry = s.tables.entry(linear, size);
    const first = size === 4096 ? BigInt(PAGE | P | RW) : 0x83n;
    const second = size === 4096 ? BigInt(OTHER | P | RW) : 0x20_0083n;
    s.machine.poke(size === 4096 ? PAGE : 0x500, "b801000000 c3");
    s.machine.poke(size === 4096 ? OTHER : 0x20_0500, "b800010000 c3");
    s.tables.write(entry, first);
    s.tables.map(DATA, entry & ~0xfff, P | RW);
    s.machine.enter("long", { tables: s.tables });
    s.machine.poke(CODE, program + UD2);
    s.machine.set({
      RIP: CODE,
      RSP: CODE + 0x800,
      RBX: linear + (size === 4096 ? 0n : 0x500n),
      RCX: DATA + entry % 4096,
      RSI: second,
      RDX: first,
      RBP: 6,
      RDI: 0,
    });
    assertEquals(s.machine.runToException().vector, VECTOR.UD);
    assertEquals(s.machine.get("RDI"), 0x303n);
  });
}

testTiers("more PCIDs than the CPU keeps are still correct", () => {
  const { machine, one, two, cr3 } = twoSpaces();
  machine.enter("long", { tables: one.tables, cr4: CR4.PCIDE });
  machine.poke(CODE, `0f22d9 8b03 ${UD2}`);
  for (let n = 0; n < 40; n++) {
    const isOne = n * 7 % 3 === 0;
    const tables = isOne ? one.tables : two;
    machine.set({ RIP: CODE, RBX: DATA, RCX: cr3(tables, isOne ? 9 : n + 20) });
    assertEquals(machine.runToException().vector, VECTOR.UD);
    assertEquals(machine.get("RAX"), isOne ? 1n : 2n);
  }
});

testTiers(
  "CR3 with reserved bits, PCIDE and INVPCID are refused as the SDM says",
  () => {
    const cases: [name: string, program: string, rcx: bigint, cr4: number][] = [
      ["bit 63 without PCIDE", "0f22d9", 1n << 63n | BigInt(TABLES), 0],
      ["bit 40", "0f22d9", 1n << 40n | BigInt(TABLES), 0],
      ["bit 62", "0f22d9", 1n << 62n | BigInt(TABLES), CR4.PCIDE],
      // mov rax, cr3; or rax, 1...; mov cr3, rax; mov rax, cr4; bts rax, 17; mov cr4, rax
      [
        "PCIDE with a PCID",
        "0f20d8 4883c801 0f22d8 0f20e0 480fbae811 0f22e0",
        0n,
        0,
      ],
      // INVPCID of type 4; of PCID 1 without PCIDE; of a bad address
      ["INVPCID type", "b904000000 660f38820c24", 0n, 0],
      ["INVPCID type", "48c7c1ffffffff 660f38820c24", 0n, 0],
    ];
    const s = setup("long");
    for (const [name, program, rcx, cr4] of cases) {
      const raised = acrossChange(s, { program, cr4, rcx, count: 0 }, () => {});
      assertEquals([raised.vector, raised.error], [VECTOR.GP, 0], name);
    }
  },
);

testTiers("INVPCID checks its descriptor", () => {
  const s = setup("long");
  const at = CODE + 0x800;
  const cases: [type: number, pcid: bigint, address: bigint, ok: boolean][] = [
    [0, 0n, 0n, true],
    [0, 0n, 0x8000_0000_0000n, false],
    [0, 1n, 0n, false],
    [1, 1n, 0n, false],
    [1, 0n, 0x8000_0000_0000n, true],
    [0, 0x1000n, 0n, false],
    [1, 0x1000n, 0n, false],
    [2, 0x1000n, 0n, false],
  ];
  for (const [type, pcid, address, ok] of cases) {
    s.machine.poke64(at, pcid);
    s.machine.poke64(at + 8, address);
    const raised = acrossChange(s, {
      program: "660f38820c24",
      rcx: BigInt(type),
      count: 0,
    }, () => {});
    const what = `type ${type} PCID ${pcid} address ${address}`;
    assertEquals(raised.vector, ok ? VECTOR.UD : VECTOR.GP, what);
  }
});

testTiers(
  "MOV CR3 under PAE loads the PDPTEs, and refuses reserved bits",
  () => {
    const s = setup("pae");
    s.tables.map(DATA, PAGE, P | RW);
    s.machine.poke32(PAGE, 3);
    // A changed PDPTE is used only after CR3 is loaded.
    const kept = acrossChange(
      s,
      { program: LOAD + "0f20d8 0f22d8" + LOAD },
      () => {
        s.tables.write(TABLES + 16, 0n);
      },
    );
    assertEquals(kept.vector, VECTOR.UD);
    for (const bit of [1, 2, 5, 6, 7, 8, 40, 51, 52, 62, 63]) {
      const raised = acrossChange(s, { program: "0f20d8 0f22d8" }, () => {
        s.tables.write(TABLES + 24, BigInt(P | CODE) | 1n << BigInt(bit));
      });
      assertEquals([raised.vector, raised.error], [VECTOR.GP, 0], `bit ${bit}`);
      s.tables.write(TABLES + 24, 0n);
    }
  },
);

// --- Accesses across two pages -----------------------------------------------

interface Crossing {
  readonly name: string;
  readonly program: string;
  readonly bytes: number;
  readonly writes: boolean;
}

const CROSSINGS: readonly Crossing[] = [
  { name: "mov r16", program: "668b03", bytes: 2, writes: false },
  { name: "mov r32", program: "8b03", bytes: 4, writes: false },
  { name: "mov r64", program: "488b03", bytes: 8, writes: false },
  { name: "movups", program: "0f1003", bytes: 16, writes: false },
  { name: "mov m16", program: "668903", bytes: 2, writes: true },
  { name: "mov m32", program: "8903", bytes: 4, writes: true },
  { name: "mov m64", program: "488903", bytes: 8, writes: true },
  { name: "mov m64, imm", program: "48c70355555555", bytes: 8, writes: true },
  { name: "movups m128", program: "0f1103", bytes: 16, writes: true },
  { name: "add m64", program: "480103", bytes: 8, writes: true },
  { name: "xadd m64", program: "480fc103", bytes: 8, writes: true },
  { name: "lock add m32", program: "f00103", bytes: 4, writes: true },
  { name: "lock xadd m64", program: "f0480fc103", bytes: 8, writes: true },
  { name: "xchg m64", program: "488703", bytes: 8, writes: true },
  { name: "cmpxchg m64", program: "480fb10b", bytes: 8, writes: true },
  { name: "lock cmpxchg8b", program: "f00fc70b", bytes: 8, writes: true },
  { name: "bts m64", program: "480fba2b3f", bytes: 8, writes: true },
  { name: "shl m64", program: "48d123", bytes: 8, writes: true },
  { name: "inc m64", program: "48ff03", bytes: 8, writes: true },
  { name: "stosq", program: "4889df 48ab", bytes: 8, writes: true },
  { name: "movsq", program: "4889df 4889e6 48a5", bytes: 8, writes: true },
  { name: "push", program: "488d6308 50", bytes: 8, writes: true },
  { name: "pop m64", program: "8f03", bytes: 8, writes: true },
  { name: "fst m64", program: "dbe3 d9e8 dd13", bytes: 8, writes: true },
  { name: "fstp m80", program: "dbe3 d9e8 db3b", bytes: 10, writes: true },
  { name: "movq m64", program: "660fd603", bytes: 8, writes: true },
  { name: "sgdt", program: "0f0103", bytes: 10, writes: true },
];

const FIRST = 0x20_0000;
const SECOND = 0x20_5000;

function crossingSetup(secondBits: number): Setup {
  const s = setup("long");
  s.tables.map(DATA, FIRST, P | RW);
  s.tables.map(DATA + 4096, SECOND, secondBits);
  return s;
}

// An address of the access's bytes, `before` of them in the first page.
function edge(before: number): bigint {
  return BigInt(DATA + 4096 - before);
}

for (const c of CROSSINGS) {
  testTiers(`${c.name} across pages writes nothing where it faults`, () => {
    for (let before = 1; before < c.bytes; before++) {
      for (const bits of c.writes ? [0, P] : [0]) {
        const s = crossingSetup(bits);
        const { bytes } = s.machine.memory;
        bytes.fill(0xa5, FIRST + 4080, FIRST + 4096);
        bytes.fill(0x5a, SECOND, SECOND + 16);
        const raised = attempt(s, {
          program: c.program,
          at: edge(before),
          cr0: CR0.WP,
          cr4: CR4.OSFXSR,
        });
        const what = `${c.name}, ${before} bytes before the edge, ${bits}`;
        assertEquals(raised.vector, VECTOR.PF, what);
        assertEquals(raised.cr2, BigInt(DATA + 4096), what);
        assertEquals(raised.error, bits | (c.writes ? 2 : 0), what);
        assert(
          bytes.slice(FIRST + 4080, FIRST + 4096).every((b) => b === 0xa5),
        );
        assert(bytes.slice(SECOND, SECOND + 16).every((b) => b === 0x5a));
        assertEquals(s.machine.get("RAX"), 0n, what);
      }
    }
  });

  testTiers(`${c.name} across pages works where both are there`, () => {
    for (let before = 1; before < c.bytes; before++) {
      const s = crossingSetup(P | RW);
      const raised = attempt(s, {
        program: c.program,
        at: edge(before),
        cr4: CR4.OSFXSR,
      });
      assertEquals(raised.vector, VECTOR.UD, `${before} bytes before the edge`);
    }
  });
}

testTiers("a load across pages puts its bytes together", () => {
  const s = crossingSetup(P | RW);
  for (let before = 1; before < 8; before++) {
    const value = 0x0102_0304_0506_0708n;
    for (let n = 0; n < 8; n++) {
      const byte = Number(value >> BigInt(8 * n) & 0xffn);
      const at = n < before ? FIRST + 4096 - before + n : SECOND + n - before;
      s.machine.memory.bytes[at] = byte;
    }
    // mov rax, [rbx]; bswap rax; mov [rbx], rax; mov rdx, [rbx]
    attempt(s, { program: "488b03 480fc8 488903 488b13", at: edge(before) });
    assertEquals(s.machine.get("RAX"), 0x0807_0605_0403_0201n);
    assertEquals(s.machine.get("RDX"), 0x0807_0605_0403_0201n);
  }
});

testTiers("where both pages fault, the first is reported", () => {
  const s = setup("long");
  for (const program of ["488b03", "488903", "480103", "0f1103"]) {
    const raised = attempt(s, { program, at: edge(3), cr4: CR4.OSFXSR });
    assertEquals(raised.vector, VECTOR.PF);
    assertEquals(raised.cr2, edge(3));
  }
});

// --- Instructions across two pages -------------------------------------------

// mov eax, 0x11223344 with `before` bytes in the first page; then UD2.
function crossingCode(s: Setup, before: number): void {
  const bytes = [0xb8, 0x44, 0x33, 0x22, 0x11, 0x0f, 0x0b];
  bytes.forEach((byte, n) => {
    const at = n < before ? FIRST + 4096 - before + n : SECOND + n - before;
    s.machine.memory.bytes[at] = byte;
  });
}

function startAt(s: Setup, before: number, efer = 0): void {
  s.machine.enter("long", { tables: s.tables, efer });
  s.machine.set({ RIP: edge(before) });
}

testTiers("an instruction across pages faults for the second page", () => {
  for (let before = 1; before < 5; before++) {
    for (const nxe of [0, EFER.NXE]) {
      const s = crossingSetup(0);
      crossingCode(s, before);
      startAt(s, before, nxe);
      const raised = s.machine.runToException();
      assertEquals([raised.vector, raised.error], [14, nxe ? 16 : 0]);
      assertEquals(raised.cr2, BigInt(DATA + 4096));
      assertEquals(raised.rip, edge(before));
      s.tables.map(DATA + 4096, SECOND, P);
      assertEquals(s.machine.runToException().vector, VECTOR.UD);
      assertEquals(s.machine.get("RAX"), 0x1122_3344n);
    }
  }
});

testTiers(
  "an instruction across pages follows its second page's mapping",
  () => {
    for (let before = 1; before < 5; before++) {
      const s = crossingSetup(P | RW);
      crossingCode(s, before);
      startAt(s, before);
      assertEquals(s.machine.runToException().vector, VECTOR.UD);
      const third = OTHER;
      s.machine.memory.bytes.copyWithin(third, SECOND, SECOND + 16);
      s.machine.memory.bytes[third + 4 - before] = 0x99;
      s.tables.map(DATA + 4096, third, P | RW);
      startAt(s, before);
      assertEquals(s.machine.runToException().vector, VECTOR.UD);
      assertEquals(s.machine.get("RAX"), 0x9922_3344n);
      s.tables.map(DATA + 4096, third, BigInt(P | RW) | NX);
      startAt(s, before, EFER.NXE);
      const raised = s.machine.runToException();
      assertEquals([raised.vector, raised.error], [14, 17]);
    }
  },
);

testTiers(
  "an instruction across pages follows the mapping inside one run",
  () => {
    // A loop calls the instruction twice and remaps its second page between.
    const s = crossingSetup(P | RW);
    crossingCode(s, 3);
    // The instruction is followed by RET instead of UD2.
    s.machine.memory.bytes[SECOND + 2] = 0xc3;
    s.machine.memory.bytes.copyWithin(OTHER, SECOND, SECOND + 16);
    s.machine.memory.bytes[OTHER + 1] = 0x99;
    const leaf = s.tables.entry(BigInt(DATA + 4096));
    s.tables.map(0x60_0000, leaf & ~0xfff, P | RW);
    const target = BigInt(0x60_0000 + (leaf & 0xfff));
    // call rbx; mov edx, eax; mov [rsi], rcx; invlpg [rdi]; call rbx
    s.machine.poke(CODE, `ffd3 89c2 48890e 0f013f ffd3 ${UD2}`);
    s.machine.enter("long", { tables: s.tables });
    s.machine.set({
      RIP: CODE,
      RSP: CODE + 0x800,
      RBX: edge(3),
      RSI: target,
      RCX: OTHER | P | RW,
      RDI: DATA + 4096,
    });
    assertEquals(s.machine.runToException().vector, VECTOR.UD);
    assertEquals(s.machine.get("RDX"), 0x1122_3344n);
    assertEquals(s.machine.get("RAX"), 0x9922_3344n);
  },
);

testTiers("the CPU reads and writes page tables that the guest maps", () => {
  // The guest maps DATA itself through an alias of its page table.
  const s = setup("long");
  const leaf = s.tables.entry(BigInt(DATA));
  s.tables.map(0x60_0000, leaf & ~0xfff, P | RW);
  s.machine.poke32(PAGE, 42);
  // mov [rsi], rcx; mov eax, [rbx]; mov rdx, [rsi]
  s.machine.poke(CODE, `48890e 8b03 488b16 ${UD2}`);
  s.machine.enter("long", { tables: s.tables });
  s.machine.set({
    RIP: CODE,
    RBX: DATA,
    RSI: 0x60_0000 + (leaf & 0xfff),
    RCX: PAGE | P | RW,
  });
  assertEquals(s.machine.runToException().vector, VECTOR.UD);
  assertEquals(s.machine.get("RAX"), 42n);
  assertEquals(s.machine.get("RDX"), BigInt(PAGE | P | RW | A));
});

testTiers(
  "IRET and RET read the frame from its topmost word, the stack after it",
  () => {
    const s = setup("long");
    s.tables.map(DATA, DATA, P | RW | US);
    const end = DATA + 0x1000;
    // Words of the frame that are there, and which one the fault is about.
    const rows: readonly [code: string, present: number, missing: number][] = [
      ["48cf", 0, 2],
      ["48cf", 1, 2],
      ["48cf", 2, 2],
      ["48cf", 3, 4],
      ["48cf", 4, 4],
      ["48cb", 0, 1],
      ["48cb", 1, 1],
    ];
    for (const [code, present, missing] of rows) {
      s.machine.enter("long", { tables: s.tables, cpl: 3 });
      s.machine.poke(USER_CODE, code);
      const sp = end - 8 * present;
      s.machine.set({ RIP: USER_CODE, RSP: sp });
      const { vector, cr2 } = s.machine.runToException();
      assertEquals(vector, VECTOR.PF);
      assertEquals(cr2, BigInt(sp + 8 * missing), `${code} ${present}`);
    }
  },
);
