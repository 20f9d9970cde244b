// Known results of single instructions on real silicon: shows that the runner loads and stores
// every part of the state. Skipped where there is no x86-64 Linux host.

import { assertEquals } from "@std/assert";
import {
  CODE_BASE,
  CODE_SIZE,
  type CpuCase,
  type CpuOutcome,
  DATA_BASE,
  DATA_SIZE,
  DATA_WINDOW,
  FX_SIZE,
  NativeExecutor,
  OUTCOME,
  STACK_WINDOW,
} from "./native.ts";

const RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4;
const CF = 0x1n, PF = 0x4n, AF = 0x10n, ZF = 0x40n, SF = 0x80n, OF = 0x800n;
const STATUS_FLAGS = CF | PF | AF | ZF | SF | OF;
const CODE = CODE_BASE + 0x400;
const WINDOW = DATA_BASE + 0xf00;

function defaultFx(): Uint8Array {
  const fx = new Uint8Array(FX_SIZE);
  const view = new DataView(fx.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1f80, true);
  return fx;
}

function cpuCase(code: number[], state: Partial<CpuCase> = {}): CpuCase {
  const gpr = state.gpr ?? new BigUint64Array(16);
  if (gpr[RSP] === 0n) gpr[RSP] = 0x30000780n;
  return {
    mode: 64,
    code: new Uint8Array(code),
    codeBase: CODE,
    rflags: 0x202n,
    fsBase: 0n,
    gsBase: 0n,
    fx: defaultFx(),
    dataBase: WINDOW,
    data: new Uint8Array(DATA_WINDOW),
    stack: new Uint8Array(STACK_WINDOW),
    ...state,
    gpr,
  };
}

function registers(values: Record<number, bigint>): BigUint64Array {
  const gpr = new BigUint64Array(16);
  for (const [index, value] of Object.entries(values)) {
    gpr[Number(index)] = value;
  }
  return gpr;
}

async function runAll(...cases: CpuCase[]): Promise<CpuOutcome[]> {
  const executor = await NativeExecutor.create();
  try {
    return await executor.run(cases);
  } finally {
    await executor.close();
  }
}

async function run(test: CpuCase): Promise<CpuOutcome> {
  const [outcome] = await runAll(test);
  return outcome!;
}

function test(name: string, body: () => Promise<void>): void {
  Deno.test({ name, ignore: !NativeExecutor.isSupported(), fn: body });
}

test("NativeExecutor runs ADD and reports registers, flags and the end", async () => {
  // add rax, rcx
  const gpr = registers({ [RAX]: 0x7fffffffffffffffn, [RCX]: 1n, 15: 15n });
  const outcome = await run(cpuCase([0x48, 0x01, 0xc8], { gpr }));
  assertEquals(outcome.vector, 3);
  assertEquals(outcome.rip, BigInt(CODE + 4));
  assertEquals(outcome.gpr[RAX], 1n << 63n);
  assertEquals(outcome.gpr[15], 15n);
  assertEquals(outcome.rflags & STATUS_FLAGS, OF | SF | AF | PF);
});

test("NativeExecutor starts with the flags of the case", async () => {
  // pushf; pop rax
  const all = STATUS_FLAGS | 0x400n | 0x4000n | 0x200000n;
  const outcome = await run(cpuCase([0x9c, 0x58], { rflags: all }));
  assertEquals(outcome.gpr[RAX], all | 0x202n);
  assertEquals(outcome.rflags, all | 0x202n);
});

test("NativeExecutor reports a division by zero as vector 0", async () => {
  // xor edx, edx; div rdx
  const outcome = await run(cpuCase([0x31, 0xd2, 0x48, 0xf7, 0xf2]));
  assertEquals(outcome.vector, 0);
  assertEquals(outcome.rip, BigInt(CODE + 2));
});

test("NativeExecutor reports error code and address of a page fault", async () => {
  // mov [rbx], rax, of which the last four bytes are beyond the data pages
  const gpr = registers({ [RBX]: BigInt(DATA_BASE + DATA_SIZE - 4) });
  const outcome = await run(cpuCase([0x48, 0x89, 0x03], { gpr }));
  assertEquals(outcome.vector, 14);
  assertEquals(outcome.errorCode, 6);
  assertEquals(outcome.cr2, BigInt(DATA_BASE + DATA_SIZE));
  assertEquals(outcome.rip, BigInt(CODE));
});

test("NativeExecutor reports a general protection fault", async () => {
  // mov rax, [rbx]
  const gpr = registers({ [RBX]: 1n << 63n });
  const outcome = await run(cpuCase([0x48, 0x8b, 0x03], { gpr }));
  assertEquals([outcome.vector, outcome.errorCode, outcome.cr2], [13, 0, 0n]);
});

test("NativeExecutor compares the data and stack windows", async () => {
  // push rcx; mov [rbx], ecx
  const gpr = registers({
    [RBX]: BigInt(WINDOW + 0xfe),
    [RCX]: 0x1122334455667788n,
  });
  const outcome = await run(cpuCase([0x51, 0x89, 0x0b], { gpr }));
  assertEquals(outcome.data[0xfe], 0x88);
  assertEquals(outcome.data[0x101], 0x55);
  assertEquals(outcome.data[0x102], 0);
  assertEquals(outcome.gpr[RSP], 0x30000778n);
  assertEquals(outcome.stack[0x78], 0x88);
  assertEquals(outcome.stack[0x7f], 0x11);
});

test("NativeExecutor leaves no memory behind for the next case", async () => {
  // mov [rbx], ecx outside of the window, then mov ecx, [rbx]
  const gpr = () => registers({ [RBX]: BigInt(DATA_BASE), [RCX]: 5n });
  const [, second] = await runAll(
    cpuCase([0x89, 0x0b], { gpr: gpr() }),
    cpuCase([0x8b, 0x0b], { gpr: gpr() }),
  );
  assertEquals(second!.gpr[RCX], 0n);
});

test("NativeExecutor loads and stores the x87 state", async () => {
  // fld1; fld1; faddp
  const outcome = await run(cpuCase([0xd9, 0xe8, 0xd9, 0xe8, 0xde, 0xc1]));
  const view = new DataView(outcome.fx.buffer, outcome.fx.byteOffset);
  assertEquals(view.getUint16(2, true) >> 11 & 7, 7);
  assertEquals(outcome.fx[4], 0x80);
  assertEquals(view.getBigUint64(32, true), 1n << 63n);
  assertEquals(view.getUint16(40, true), 0x4000);
});

test("NativeExecutor reports an unmasked x87 exception at the next instruction", async () => {
  // fldz; fld1; fdivrp; fwait
  const fx = defaultFx();
  new DataView(fx.buffer).setUint16(0, 0x37b, true);
  const outcome = await run(
    cpuCase([0xd9, 0xee, 0xd9, 0xe8, 0xde, 0xf1, 0x9b], { fx }),
  );
  assertEquals(outcome.vector, 16);
  assertEquals(outcome.rip, BigInt(CODE + 6));
});

test("NativeExecutor loads and stores the SSE state", async () => {
  // addps xmm9, [rbx]
  const fx = defaultFx();
  const fxView = new DataView(fx.buffer);
  const data = new Uint8Array(DATA_WINDOW);
  const dataView = new DataView(data.buffer);
  for (let lane = 0; lane < 4; lane++) {
    fxView.setFloat32(160 + 9 * 16 + lane * 4, lane + 1, true);
    dataView.setFloat32(lane * 4, 0.5, true);
  }
  // 1/3 + 1/2 in the last lane is inexact.
  fxView.setFloat32(160 + 9 * 16 + 12, 1 / 3, true);
  const gpr = registers({ [RBX]: BigInt(WINDOW) });
  const outcome = await run(
    cpuCase([0x44, 0x0f, 0x58, 0x0b], { gpr, fx, data }),
  );
  const view = new DataView(outcome.fx.buffer, outcome.fx.byteOffset);
  assertEquals(outcome.vector, 3);
  assertEquals(view.getFloat32(160 + 9 * 16, true), 1.5);
  assertEquals(
    view.getFloat32(160 + 9 * 16 + 12, true),
    Math.fround(Math.fround(1 / 3) + 0.5),
  );
  assertEquals(view.getUint32(24, true), 0x1fa0);
});

test("NativeExecutor runs 32-bit code", async () => {
  // daa
  const gpr = registers({ [RAX]: 0xffffffff0000009cn, [RDX]: 2n, 9: 9n });
  const outcome = await run(cpuCase([0x27], { mode: 32, gpr }));
  assertEquals(outcome.vector, 3);
  assertEquals(outcome.gpr[RAX], 0x02n);
  assertEquals(outcome.gpr[9], 0n);
  assertEquals(outcome.rflags & (CF | AF | PF | ZF), CF | AF);
});

test("NativeExecutor sets FS and GS bases in both modes", async () => {
  const data = new Uint8Array(DATA_WINDOW).fill(7, 16, 24);
  const state: Partial<CpuCase> = {
    data,
    fsBase: BigInt(WINDOW),
    gsBase: BigInt(WINDOW + 8),
  };
  // mov eax, fs:[rbx]; mov ecx, gs:[rbx]
  const code = [0x64, 0x8b, 0x03, 0x65, 0x8b, 0x0b];
  const outcomes = await runAll(
    cpuCase(code, { ...state, gpr: registers({ [RBX]: 12n }) }),
    cpuCase(code, { ...state, mode: 32, gpr: registers({ [RBX]: 12n }) }),
  );
  for (const outcome of outcomes) {
    assertEquals(outcome.vector, 3);
    assertEquals(outcome.gpr[RAX], 0n);
    assertEquals(outcome.gpr[RCX], 0x07070707n);
  }
});

test("NativeExecutor fills the rest of the code pages with INT3", async () => {
  // jmp to the last byte of the code pages
  const base = CODE_BASE + CODE_SIZE - 8;
  const outcome = await run(cpuCase([0xeb, 0x05], { codeBase: base }));
  assertEquals(outcome.vector, 3);
  assertEquals(outcome.rip, BigInt(CODE_BASE + CODE_SIZE));
});

test("NativeExecutor survives endless loops, system calls and lost stacks", async () => {
  const outcomes = await runAll(
    cpuCase([0xeb, 0xfe]),
    // mov eax, 60; syscall
    cpuCase([0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
    // mov rsp, rax; mov rbp, rax; push rax
    cpuCase([0x48, 0x89, 0xc4, 0x48, 0x89, 0xc5, 0x50]),
    cpuCase([0x90]),
  );
  assertEquals(
    outcomes.map((outcome) => outcome.vector),
    [OUTCOME.timeout, OUTCOME.systemCall, 14, 3],
  );
});
