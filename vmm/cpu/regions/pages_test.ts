// Accesses that share what was found of a page: where the guess is wrong,
// what they read, write and raise must be as it was. The pages are mapped to frames
// that do not follow each other, so that a wrong addend is seen.

import { assertEquals } from "@std/assert";
import { VECTOR } from "../runtime/traps.ts";
import { CR0, CR4, PageTables, PTE, TestMachine } from "../testing.ts";
import { FORCED_REGIONS, type RegionOptions } from "./limits.ts";

const CODE = 0x8000;
const DATA = 0x50_0000;
const FRAMES = [0x9000, 0xb000, 0xa000] as const;
const READ_ONLY = DATA + 0x3000;
const ABSENT = DATA + 0x4000;
const UD2 = "0f0b";

type Compile = boolean | RegionOptions;

// Three rounds in one run, since runs begin with an empty TLB: it is filled in the first.
function rounds(program: string): string {
  // MOV RBX, R10; MOV RSP, R10; ...; DEC R9; JNZ
  const body = `4c89d3 4c89d4 ${program} 49ffc9 75`.replaceAll(" ", "");
  return body + (256 - body.length / 2 - 1).toString(16) + UD2;
}

function machineWith(compile: Compile, program: string): TestMachine {
  const machine = new TestMachine({ compile });
  const tables = new PageTables(machine, "long");
  tables.map(CODE, CODE, PTE.P | PTE.RW);
  FRAMES.forEach((frame, n) => {
    tables.map(DATA + n * 4096, frame, PTE.P | PTE.RW);
    for (let at = 0; at < 4096; at += 8) {
      machine.poke64(frame + at, BigInt(frame + at));
    }
  });
  tables.map(READ_ONLY, FRAMES[0], PTE.P);
  // What locals begin with is the tag of this one, and not its addend.
  tables.map(0, FRAMES[1], PTE.P | PTE.RW);
  machine.enter("long", { tables, cr0: CR0.WP, cr4: CR4.OSFXSR });
  machine.poke(CODE, rounds(program));
  return machine;
}

// More than what single steps keep a limit by.
const LIMIT = 10_000;

// Runs twice: the second time the region is there from the beginning.
function outcomes(compile: Compile, program: string, rbx: number) {
  const machine = machineWith(compile, program);
  const found = [1, 2].map(() => {
    machine.set({ RIP: CODE, RAX: 1, RCX: 2, RDX: 3 });
    machine.set({ R8: READ_ONLY, R9: 3, R10: rbx });
    const { vector } = machine.runToException(LIMIT);
    const registers = (["RAX", "RCX", "RDX", "RSI", "RSP", "CR2"] as const)
      .map((name) => machine.get(name));
    const memory = FRAMES.map((frame) =>
      [0, 8, 4080, 4088].map((at) => machine.peek64(frame + at))
    );
    return { vector, rip: machine.get("RIP"), registers, memory };
  });
  const made = machine.cpu.statistics.regions?.regions ?? 0;
  assertEquals(made > 0, compile !== false);
  return found;
}

const PROGRAMS: Readonly<Record<string, string>> = {
  // mov rax, [rbx]; mov rcx, [rbx+8]; mov rdx, [rbx-8]; mov rsi, [rbx+4]
  loads: "488b03 488b4b08 488b53f8 488b7304",
  // mov [rbx], rax; mov [rbx+8], rcx; mov rdx, [rbx+8]; add [rbx], rcx
  stores: "488903 48894b08 488b5308 48010b",
  // mov [rbx], rax; mov rdx, [rbx+8]; mov rcx, [rbx]; add [rbx], rdx; mov rsi, [rbx]
  "a read beyond a write": "488903 488b5308 488b0b 480113 488b33",
  // mov [rbx], rax; mov rdx, [rbx+8]; mov [rbx+16], rcx
  "a write beyond a read": "488903 488b5308 48894b10",
  // push rax; push rcx; mov rsi, [rsp+8]; pop rdx; pop rcx
  pushes: "50 51 488b742408 5a 59",
  // movups xmm0, [rbx]; movups [rbx+8], xmm0; mov rax, [rbx+12]
  vectors: "0f1003 0f114308 488b430c",
  // mov rax, [rbx]; add rbx, 16; mov rcx, [rbx]; mov [rbx-16], rcx
  "moving base": "488b03 4883c310 488b0b 48894bf0",
  // mov [rbx], rax; jmp +0; mov rdx, [rbx+8]; mov rcx, [rbx]; cmp eax, ecx; jne +4;
  // mov rsi, [rbx-8]; add [rbx], rdx
  "in several blocks": "488903 eb00 488b5308 488b0b 39c8 7504 488b73f8 480113",
  // mov [rbx], rax; mov ecx, 6; L: mov rdx, [rbx+8]; add rbx, 8; dec rcx; jnz L;
  // mov rsi, [rbx]
  "in a loop": "488903 b906000000 488b5308 4883c308 48ffc9 75f3 488b33",
  // mov rdx, [rbx]; lock xadd [rbx+8], rax; mov rcx, [rbx+8]
  locked: "488b13 f0480fc14308 488b4b08",
  // mov [rbx-8], rax; mov rdx, [r8]; mov [rbx+8], rcx
  "another base": "488943f8 498b10 48894b08",
  // rcl dword [rbx], cl; mov rax, [rbx+8]
  "flags on some paths": "d313 488b4308",
  // cmpxchg [rbx], rcx; mov rax, [rbx+8]; mov [rbx], rcx
  "a write on some paths": "480fb10b 488b4308 48890b",
  // mov rsi, rbx; mov ecx, 2; rep lodsq; mov rdx, [rbx]
  "in an instruction's loop": "4889de b902000000 f348ad 488b13",
  // cmpxchg8b [rbx]; mov rcx, [rbx+4]
  "several accesses on some paths": "0fc70b 488b4b04",
};

const PLACES: Readonly<Record<string, number>> = {
  "inside a page": DATA + 0x100,
  "at a page's end": DATA + 0x1000 - 8,
  "at a page's start": DATA + 0x1000,
  "across two pages": DATA + 0x1000 - 4,
  "one byte in another page": DATA + 0x1000 - 7,
  "before a page that cannot be written": READ_ONLY - 8,
  "where nothing can be written": READ_ONLY + 16,
  "before a page that is not there": ABSENT - 8,
  "where nothing is": ABSENT + 16,
  "in the first page": 0x100,
};

for (const [what, program] of Object.entries(PROGRAMS)) {
  Deno.test(`accesses that share a page: ${what}`, () => {
    for (const [where, rbx] of Object.entries(PLACES)) {
      const threaded = outcomes(false, program, rbx);
      for (const compile of [true, { ...FORCED_REGIONS, inPlace: true }]) {
        assertEquals(outcomes(compile, program, rbx), threaded, where);
      }
      const ends = new Set<number>([VECTOR.UD, VECTOR.PF]);
      assertEquals(threaded.every(({ vector }) => ends.has(vector)), true);
    }
  });
}

Deno.test("accesses that share a page: some of these places do fault", () => {
  const vectors = Object.values(PLACES).map((rbx) =>
    outcomes(true, PROGRAMS["stores"]!, rbx)[1]!.vector
  );
  assertEquals(vectors.filter((vector) => vector === VECTOR.PF).length, 4);
});
