// Compare and exchange: CMPXCHG, CMPXCHG8B, CMPXCHG16B (Intel SDM vol. 2). What 128
// bits need to be atomic no host has: CMPXCHG16B locks the bus against its like, and
// changes each half atomically.

import { type Emitter, REG } from "../emitter.ts";
import type { OpSize } from "../flags.ts";
import { type Form, form } from "../form.ts";
import { type I32, type I64 } from "../wasm/mod.ts";
import { NOT_RAM } from "../runtime/walk.ts";

const UPDATE = { access: "update" } as const;

// Memory is written either way; a register only where it is replaced, so that its
// upper half stays otherwise.
function compareExchange(x: Emitter, size: OpSize): void {
  const replacement = x.read(1);
  const expected = x.gpr(REG.RAX, size);
  const commit = (old: I64, equal: I32) => {
    x.f.if(equal.eqz(), () => x.setGpr(REG.RAX, old, size));
    x.flags.sub(size, expected, old, x.let(expected.sub(old)));
  };
  if (x.isMemory(0)) {
    x.update(
      0,
      (old) => replacement.when(old.eq(expected), old),
      (old) => commit(old, old.eq(expected)),
    );
    return;
  }
  const old = x.read(0);
  const equal = x.let(old.eq(expected));
  x.f.if(equal, () => x.write(0, replacement));
  commit(old, equal);
}

// Both halves of a pair of registers, the high one first.
function pair(x: Emitter, high: number, low: number): I64 {
  return x.let(x.gpr(high, 32).shl(32).or(x.gpr(low, 32)));
}

function exchange8(x: Emitter): void {
  const expected = pair(x, REG.RDX, REG.RAX);
  const replacement = pair(x, REG.RCX, REG.RBX);
  x.update(
    0,
    (old) => replacement.when(old.eq(expected), old),
    (old) => {
      const equal = x.let(old.eq(expected));
      x.f.if(equal.eqz(), () => {
        x.setGpr(REG.RAX, old, 32);
        x.setGpr(REG.RDX, old.shrU(32), 32);
      });
      x.flags.setZf(equal);
    },
    64,
  );
}

/** A value of 128 bits. */
interface Halves {
  readonly low: I64;
  readonly high: I64;
}

// In RAM: the low half first; where the high half then differs, it is put back.
function exchangeHalves(
  x: Emitter,
  host: I64,
  expected: Halves,
  replacement: Halves,
): Halves {
  const { f, cpu: { ram } } = x;
  const high = f.var("i64");
  const low = f.let(ram.atomicCmpxchg(8, host, expected.low, replacement.low));
  f.if(low.eq(expected.low), () => {
    f.set(
      high,
      ram.atomicCmpxchg(8, host, expected.high, replacement.high, 8),
    );
    f.if(
      high.get().ne(expected.high),
      () => f.drop(ram.atomicCmpxchg(8, host, replacement.low, expected.low)),
    );
  }, () => f.set(high, ram.atomicLoad(8, host, 8)));
  return { low, high: f.let(high.get()) };
}

function exchangeDevice(
  x: Emitter,
  la: I64,
  expected: Halves,
  replacement: Halves,
): Halves {
  const above = x.let(la.add(8));
  const old = { low: x.load(8, la), high: x.load(8, above) };
  const equal = isEqual(x, old, expected);
  x.store(8, la, replacement.low.when(equal, old.low));
  x.store(8, above, replacement.high.when(equal, old.high));
  return old;
}

function isEqual(x: Emitter, a: Halves, b: Halves): I32 {
  return x.let(a.low.eq(b.low).and(a.high.eq(b.high)));
}

function exchange16(x: Emitter): void {
  const { f, cpu } = x;
  const la = x.address();
  x.checkAligned(la, 16);
  const expected = { low: x.gpr(REG.RAX), high: x.gpr(REG.RDX) };
  const replacement = { low: x.gpr(REG.RBX), high: x.gpr(REG.RCX) };
  const host = x.hostForWrite(la, 16);
  const low = f.var("i64");
  const high = f.var("i64");
  const keep = (old: Halves) => {
    f.set(low, old.low);
    f.set(high, old.high);
  };
  f.if(host.ne(NOT_RAM), () => {
    f.call(cpu.fn.lockBus);
    keep(exchangeHalves(x, host, expected, replacement));
    f.call(cpu.fn.unlockBus);
  }, () => keep(exchangeDevice(x, la, expected, replacement)));
  const old = { low: f.let(low.get()), high: f.let(high.get()) };
  const equal = isEqual(x, old, expected);
  f.if(equal.eqz(), () => {
    x.setGpr(REG.RAX, old.low);
    x.setGpr(REG.RDX, old.high);
  });
  x.flags.setZf(equal);
}

/** The forms of this group. */
export const EXCHANGE_FORMS: readonly Form[] = [
  ...([8, 16, 32, 64] as const).map((n) =>
    form(`Cmpxchg_rm${n}_r${n}`, (x) => compareExchange(x, n), UPDATE)
  ),
  form("Cmpxchg8b_m64", exchange8, UPDATE),
  form("Cmpxchg16b_m128", exchange16, UPDATE),
];
