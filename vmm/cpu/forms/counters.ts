// What user mode may read of the processor: the time stamp, the processor's number,
// random numbers, the bases of FS and GS (Intel SDM vol. 2).

import { type Emitter, REG } from "../emitter.ts";
import { FLAG, type OpSize } from "../flags.ts";
import { type Form, form } from "../form.ts";
import { CPL, CR4, FS, GS, SEG_BASE, TSC_AUX } from "../state.ts";
import { i64 } from "../wasm/mod.ts";
import { VECTOR } from "../runtime/traps.ts";
import { CR4_FSGSBASE, CR4_TSD } from "../runtime/walk.ts";

// --- Time stamp --------------------------------------------------------------

function readTimeStamp(x: Emitter): void {
  const { state } = x.cpu;
  const isRefused = state.load32(0, CR4).and(CR4_TSD).ne(0)
    .and(state.load32(0, CPL).ne(0));
  x.f.if(isRefused, () => x.raise(VECTOR.GP, 0));
  const [stamp] = x.call("timeStamp");
  x.setGpr(REG.RAX, stamp, 32);
  x.setGpr(REG.RDX, stamp.shrU(32), 32);
}

function timeStamps(): Form[] {
  return [
    form("Rdtsc", readTimeStamp),
    form("Rdtscp", (x) => {
      readTimeStamp(x);
      x.setGpr(REG.RCX, x.cpu.state.load64(0, TSC_AUX), 32);
    }),
    ...["Rdpid_r32", "Rdpid_r64"].map((name) =>
      form(
        name,
        (x) => x.write(0, x.cpu.state.load64(0, TSC_AUX).and(0xffff_ffff)),
      )
    ),
  ];
}

// --- Random numbers ----------------------------------------------------------

function random(): Form[] {
  return ["Rdrand", "Rdseed"].flatMap((mnemonic) =>
    [16, 32, 64].map((n) =>
      form(`${mnemonic}_r${n}`, (x) => {
        const [bits] = x.call("randomBits");
        x.write(0, bits);
        x.flags.assign(i64(FLAG.CF));
      })
    )
  );
}

// --- Segment bases -----------------------------------------------------------

function requireBases(x: Emitter): void {
  const allowed = x.cpu.state.load32(0, CR4).and(CR4_FSGSBASE);
  x.f.if(allowed.eqz(), () => x.raise(VECTOR.UD));
}

function readBase(x: Emitter, slot: number): void {
  requireBases(x);
  x.write(0, x.cpu.state.load64(0, slot + SEG_BASE));
}

function writeBase(x: Emitter, slot: number, size: OpSize): void {
  requireBases(x);
  const base = x.read(0);
  if (size === 64) {
    const isCanonical = base.shl(16).shrS(16).eq(base);
    x.f.if(isCanonical.eqz(), () => x.raise(VECTOR.GP, 0));
  }
  x.f.do(x.cpu.state.store64(0, base, slot + SEG_BASE));
}

function bases(): Form[] {
  return ([["fs", FS], ["gs", GS]] as const).flatMap(([letters, slot]) =>
    ([32, 64] as const).flatMap((n) => [
      form(`Rd${letters}base_r${n}`, (x) => readBase(x, slot)),
      form(`Wr${letters}base_r${n}`, (x) => writeBase(x, slot, n)),
    ])
  );
}

/** The forms of this group. */
export const COUNTER_FORMS: readonly Form[] = [
  ...timeStamps(),
  ...random(),
  ...bases(),
];
