// What changes nothing a guest can see but time and order: NOPs, prefetches, cache line
// flushes, fences, PAUSE, SERIALIZE (Intel SDM vol. 2).

import { type Emitter } from "../emitter.ts";
import { type Form, form, forms, nothing } from "../form.ts";
import { EXIT_CONTROLS, EXIT_ON, PAUSES, RIP } from "../state.ts";
import { FENCE, i32 } from "../wasm/mod.ts";
import { STATUS, VECTOR } from "../runtime/traps.ts";

function reservedNops(opcode: number): string[] {
  const place = `0F${opcode.toString(16).toUpperCase().padStart(2, "0")}`;
  return [16, 32, 64].map((size) => `Reservednop_rm${size}_r${size}_${place}`);
}

const PREFETCHES = ["", "w", "wt1", "nta", "t0", "t1", "t2", "it0", "it1"];
const RESERVED_PREFETCHES = [3, 4, 5, 6, 7].map((n) => `reserved${n}`);

// RDSSP is one of the reserved NOPs while shadow stacks are off, as they always are.
const NOPS: readonly string[] = [
  ...Array.from({ length: 8 }, (_, n) => reservedNops(0x18 + n)).flat(),
  ...[...PREFETCHES, ...RESERVED_PREFETCHES].map((kind) =>
    `Prefetch${kind}_m8`
  ),
  ...["Endbr32", "Endbr64", "Cldemote_m8", "Rdsspd_r32", "Rdsspq_r64"],
];

// The last bits of ModR/M mean nothing.
const FENCES: readonly string[] = Object.entries({
  Lfence: 0xe8,
  Mfence: 0xf0,
  Sfence: 0xf8,
}).flatMap(([name, modRm]) =>
  Array.from({ length: 8 }, (_, n) => {
    const digits = (modRm + n).toString(16).toUpperCase();
    return n === 0 ? name : `${name}_${digits}`;
  })
);

// Answers for the address as a load would, reads nothing.
function flushLine(x: Emitter): void {
  x.call("prepareRead", x.address(), i32(1), x.site());
}

// A guest that does little else waits for another processor, whose thread may want the
// core: the engine hears of it, as hardware's pause-loop exits tell a hypervisor.
function pause(x: Emitter): void {
  const { f, cpu: { state } } = x;
  const left = x.let(state.load32(0, PAUSES).sub(1));
  f.do(state.store32(0, left, PAUSES));
  f.if(left.ltS(0), () => {
    f.do(state.store64(0, x.nextRip(), RIP));
    f.return(i32(STATUS.EVENTS));
  });
  f.if(state.load32(0, EXIT_CONTROLS).and(EXIT_ON.PAUSE), () => {
    f.do(state.store64(0, x.nextRip(), RIP));
    x.call("pauseExit");
    f.return(i32(STATUS.EXIT));
  });
}

// Of the prefetches' reserved encodings AMD's processors have those with memory.
function reservedPrefetch(x: Emitter): void {
  if (x.shape.memory === "none") x.raise(VECTOR.UD);
}

/**
 * Ends an instruction behind which what other processors changed is seen, code too:
 * their threads kick this one before they write, and the jump looks for that.
 */
export function serialize(x: Emitter): void {
  x.f.do(FENCE);
  x.goOn();
}

/** The forms of this group. */
export const HINT_FORMS: readonly Form[] = [
  ...nothing(NOPS),
  ...forms(reservedNops(0x0d), reservedPrefetch, { access: "none" }),
  ...forms(["Clflush_m8", "Clflushopt_m8", "Clwb_m8"], flushLine),
  ...forms(FENCES, (x) => x.f.do(FENCE)),
  form("Pause", pause, { axes: ["code"] }),
  form("Serialize", serialize, { ends: true, axes: ["code"] }),
];
