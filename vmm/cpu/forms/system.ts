// System instructions: control and debug registers, flags, caches and the TLB,
// model-specific registers, HLT and its like (Intel SDM vol. 2; vol. 3, 2.8).

import { type Emitter, REG } from "../emitter.ts";
import { FLAG } from "../flags.ts";
import { type Form, form, forms } from "../form.ts";
import {
  ATTENTION,
  BUDGET,
  CPL,
  CR,
  CR0,
  CR4,
  DR,
  GS,
  KERNEL_GS_BASE,
  RIP,
  SCRATCH,
  SEG_BASE,
  SHADOW_KIND,
  SHADOW_RIP,
  SYSTEM_FLAGS,
} from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";
import { serialize } from "./hints.ts";
import { EXIT_REASON, HOST } from "../runtime/host.ts";
import { STATUS, VECTOR } from "../runtime/traps.ts";
import { CR0_TS, CR4_SMAP } from "../runtime/walk.ts";

const CODE = { axes: ["code"] } as const;
const ENDS = { ...CODE, ends: true } as const;

function requireCpl0(x: Emitter, vector: number = VECTOR.GP): void {
  const isUser = x.cpu.state.load32(0, CPL).ne(0);
  x.f.if(isUser, () => {
    if (vector === VECTOR.GP) x.raise(vector, 0);
    else x.raise(vector);
  });
}

// --- Control and debug registers -------------------------------------------------

// The number of the register whose slot an operand is.
function registerNumber(x: Emitter, n: number, first: number): I32 {
  return x.let(x.register(n).sub(first).shrU(3));
}

function registerMoves(): Form[] {
  const kinds = [
    ["cr", CR, "readControl", "writeControl"],
    ["dr", DR, "readDebug", "writeDebug"],
  ] as const;
  return kinds.flatMap(([kind, first, read, write]) =>
    ([32, 64] as const).flatMap((size) => [
      form(`Mov_r${size}_${kind}`, (x) => {
        const number = registerNumber(x, 1, first);
        x.write(0, x.call(read, number, x.site())[0]);
      }),
      form(`Mov_${kind}_r${size}`, (x) => {
        const number = registerNumber(x, 0, first);
        x.call(write, number, x.read(1), x.site());
        x.goOn();
      }, ENDS),
    ])
  );
}

// The 386's and 486's test registers are gone.
const TEST_REGISTERS = ["Mov_r32_tr", "Mov_tr_r32"];

function clearTaskSwitched(x: Emitter): void {
  const { state } = x.cpu;
  requireCpl0(x);
  const cr0 = state.load32(0, CR0).and(~CR0_TS);
  x.f.do(state.store32(0, cr0, CR0));
  x.call("updateMode");
  x.goOn();
}

// --- The interrupt flag and AC -----------------------------------------------------

function flagWord(x: Emitter): I32 {
  return x.let(x.cpu.state.load32(0, SYSTEM_FLAGS));
}

function setFlagWord(x: Emitter, value: I32): void {
  x.f.do(x.cpu.state.store32(0, value, SYSTEM_FLAGS));
}

function mayChangeIf(x: Emitter, flags: I32): I32 {
  return x.cpu.state.load32(0, CPL).leU(flags.shrU(12).and(3));
}

function clearInterrupts(x: Emitter): void {
  const flags = flagWord(x);
  x.f.if(
    mayChangeIf(x, flags),
    () => setFlagWord(x, flags.and(~FLAG.IF)),
    () => void x.call("clearVirtualInterrupts", x.site()),
  );
}

const SHADOW_STI = 1;

function setInterrupts(x: Emitter): void {
  const { state } = x.cpu;
  const flags = flagWord(x);
  const enable = () => {
    setFlagWord(x, flags.or(FLAG.IF));
    x.f.do(state.store64(0, x.nextRip(), SHADOW_RIP));
    x.f.do(state.store32(0, SHADOW_STI, SHADOW_KIND));
    x.f.if(state.load32(0, ATTENTION), () => x.endBlock());
  };
  x.f.if(
    mayChangeIf(x, flags),
    () => x.f.if(flags.and(FLAG.IF).eqz(), enable),
    () => void x.call("setVirtualInterrupts", x.site()),
  );
}

function setAccessControl(on: boolean): (x: Emitter) => void {
  return (x) => {
    const hasSmap = x.cpu.state.load32(0, CR4).and(CR4_SMAP);
    x.f.if(hasSmap.eqz(), () => x.raise(VECTOR.UD));
    requireCpl0(x, VECTOR.UD);
    const flags = flagWord(x);
    setFlagWord(x, on ? flags.or(FLAG.AC) : flags.and(~FLAG.AC));
    x.call("updatePrivilege");
  };
}

// --- Caches and translations ---------------------------------------------------------

function invalidatePcid(x: Emitter): void {
  const la = x.address();
  const low = x.load(8, la);
  const next = la.add(8);
  const high = x.load(
    8,
    x.let(x.shape.code === 64 ? next : next.and(0xffff_ffff)),
  );
  x.call("invalidatePcid", x.read(0), low, high, x.site());
  x.goOn();
}

function translations(): Form[] {
  return [
    form("Invlpg_m", (x) => {
      x.call("invalidatePage", x.address(), x.site());
      x.goOn();
    }, ENDS),
    ...forms(["Invpcid_r32_m128", "Invpcid_r64_m128"], invalidatePcid, ENDS),
    ...forms(["Invd", "Wbinvd"], (x) => {
      requireCpl0(x);
      serialize(x);
    }, ENDS),
    form("Wbnoinvd", (x) => requireCpl0(x)),
  ];
}

// --- Through TypeScript --------------------------------------------------------------

function setScratch(x: Emitter, n: number, value: I64): void {
  x.f.do(x.cpu.state.store64(0, value, SCRATCH + 8 * n));
}

// An instruction that the host may stop at once it retired.
function stop(x: Emitter, reason: number): void {
  const { f, cpu: { state } } = x;
  const rip = x.nextRip();
  f.do(state.store64(0, rip, RIP));
  const [answer] = x.call("hostExit", i32(reason));
  f.if(answer.eq(HOST.EXIT), () => {
    const left = state.load32(0, BUDGET).sub(x.fields.count());
    f.do(state.store32(0, left, BUDGET));
    f.return(i32(STATUS.EXIT));
  });
  f.if(answer.eq(HOST.FAULT), () => x.raise(VECTOR.UD));
  x.endAt(rip);
}

function halt(x: Emitter): void {
  requireCpl0(x);
  setScratch(x, 0, x.let(x.flags.value().or(flagWord(x).toI64U())));
  stop(x, EXIT_REASON.HLT);
}

// MONITOR and MWAIT exist at CPL 0 only, and ECX must name no extension.
function requireMonitor(x: Emitter): void {
  requireCpl0(x, VECTOR.UD);
  const hasExtensions = x.gpr(REG.RCX, 32).ne(0);
  x.f.if(hasExtensions, () => x.raise(VECTOR.GP, 0));
}

function monitor(x: Emitter): void {
  requireMonitor(x);
  setScratch(x, 0, x.gpr(REG.RAX));
  stop(x, EXIT_REASON.MONITOR);
}

function wait(x: Emitter): void {
  requireMonitor(x);
  setScratch(x, 0, x.gpr(REG.RAX, 32));
  setScratch(x, 1, x.gpr(REG.RCX, 32));
  stop(x, EXIT_REASON.MWAIT);
}

function hostForms(): Form[] {
  return [
    form("Hlt", halt, ENDS),
    ...forms(["Monitorw", "Monitord", "Monitorq"], monitor, ENDS),
    form("Mwait", wait, ENDS),
    form("Rdmsr", (x) => void x.call("readMsr", x.site())),
    form("Wrmsr", (x) => {
      x.call("writeMsr", x.site());
      x.endBlock();
    }, ENDS),
    form("Rdpmc", (x) => void x.call("readCounter", x.site())),
    form("Cpuid", (x) => {
      x.call("identify", x.site());
      serialize(x);
    }, ENDS),
    form("Xgetbv", (x) => void x.call("readXcr", x.site())),
    form("Xsetbv", (x) => {
      x.call("writeXcr", x.site());
      x.endBlock();
    }, ENDS),
  ];
}

// --- The rest ------------------------------------------------------------------------

function swapGs(x: Emitter): void {
  const { state } = x.cpu;
  requireCpl0(x);
  const base = x.let(state.load64(0, GS + SEG_BASE));
  const other = x.let(state.load64(0, KERNEL_GS_BASE));
  x.f.do(state.store64(0, other, GS + SEG_BASE));
  x.f.do(state.store64(0, base, KERNEL_GS_BASE));
}

/** The forms of this group. */
export const SYSTEM_FORMS: readonly Form[] = [
  ...registerMoves(),
  ...forms([...TEST_REGISTERS, "Rsm"], (x) => x.raise(VECTOR.UD), {
    ends: true,
  }),
  form("Clts", clearTaskSwitched, ENDS),
  form("Cli", clearInterrupts),
  form("Sti", setInterrupts, CODE),
  form("Clac", setAccessControl(false)),
  form("Stac", setAccessControl(true)),
  ...translations(),
  ...hostForms(),
  form("Swapgs", swapGs),
];
