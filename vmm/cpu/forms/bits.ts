// Single bits and bit fields: BT BTS BTR BTC, scans and counts, BMI, byte swaps,
// CRC32, ADCX ADOX (Intel SDM vol. 2). Undefined flags and results are AMD's.

import { type Emitter, widthOf } from "../emitter.ts";
import { type OpSize, signExtend, zeroExtend } from "../flags.ts";
import { type Form, form } from "../form.ts";
import { type I32, type I64, i64 } from "../wasm/mod.ts";

const WIDE_SIZES = [16, 32, 64] as const;
const GPR_SIZES = [32, 64] as const;

// --- Bit tests ---------------------------------------------------------------

type Change = (old: I64, bit: I64) => I64;

const BIT_TESTS: Readonly<Record<string, Change | undefined>> = {
  Bt: undefined,
  Bts: (old, bit) => old.or(bit),
  Btr: (old, bit) => old.and(bit.xor(-1)),
  Btc: (old, bit) => old.xor(bit),
};

// A bit number in a register may lead away from the operand, to either side: the
// word that holds it is accessed, so the segment applies to its offset.
function wordAddress(
  x: Emitter,
  bit: I64,
  size: OpSize,
  access: 0 | 1,
): I64 {
  const words = signExtend(bit, size).shrS(Math.log2(size));
  const sum = x.address().add(words.shl(Math.log2(size / 8)));
  const offset = x.let(zeroExtend(sum, x.shape.address));
  return x.linearIn(x.fields.operand(2), offset, widthOf(size), access);
}

function bitTest(change: Change | undefined, fromRegister: boolean) {
  return (x: Emitter) => {
    const size = x.size();
    const offset = fromRegister ? x.read(1) : x.imm(8);
    const index = x.let(offset.and(size - 1));
    const commit = (old: I64) => x.flags.setCf(old.shrU(index).toI32().and(1));
    const isFar = fromRegister && x.isMemory(0);
    if (change === undefined) {
      const width = widthOf(size);
      const old = isFar
        ? x.load(width, wordAddress(x, offset, size, 0))
        : x.read(0);
      commit(old);
      return;
    }
    const bit = x.let(i64(1).shl(index));
    const compute = (old: I64) => change(old, bit);
    if (isFar) {
      x.updateAt(
        wordAddress(x, offset, size, 1),
        compute,
        commit,
        widthOf(size),
      );
    } else {
      x.update(0, compute, commit);
    }
  };
}

function bitTests(): Form[] {
  return Object.entries(BIT_TESTS).flatMap(([mnemonic, change]) => {
    const access = change === undefined ? "read" : "update";
    return WIDE_SIZES.flatMap((n) => [
      form(`${mnemonic}_rm${n}_r${n}`, bitTest(change, true), {
        access: "offset",
        axes: ["code", "address", "flat"],
      }),
      form(`${mnemonic}_rm${n}_imm8`, bitTest(change, false), { access }),
    ]);
  });
}

// --- Scans and counts --------------------------------------------------------

function countTrailing(x: Emitter, value: I64): I64 {
  const size = x.size();
  return size === 64 ? value.ctz() : value.or(1n << BigInt(size)).ctz();
}

function countLeading(x: Emitter, value: I64): I64 {
  return value.clz().sub(64 - x.size());
}

// Of zero there is no index: AMD's processors leave the destination alone, what is
// above 32 bits, too. The other flags are those of the index.
function scan(index: (x: Emitter, value: I64) => I64) {
  return (x: Emitter) => {
    const value = x.read(1);
    const old = x.read(0, 64);
    const isFound = x.let(value.ne(0));
    const found = x.let(index(x, value));
    const written = x.size() === 16 ? old.and(~0xffffn).or(found) : found;
    x.write(0, written.when(isFound, old), 64);
    // ZF is clear even where the index is zero.
    x.flags.logic(64, found.or(0x100).when(isFound, 0));
  };
}

function count(counted: (x: Emitter, value: I64) => I64) {
  return (x: Emitter) => {
    const value = x.read(1);
    const result = x.let(counted(x, value));
    x.write(0, result);
    x.flags.setZfCf(result.eqz(), value.eqz());
  };
}

function population(x: Emitter): void {
  const value = x.read(1);
  x.write(0, value.popcnt());
  x.flags.setZfCf(value.eqz());
}

function scansAndCounts(): Form[] {
  const definitions: Readonly<Record<string, (x: Emitter) => void>> = {
    Bsf: scan((_x, value) => value.ctz()),
    Bsr: scan((_x, value) => value.clz().xor(63)),
    Tzcnt: count(countTrailing),
    Lzcnt: count(countLeading),
    Popcnt: population,
  };
  return Object.entries(definitions).flatMap(([mnemonic, define]) =>
    WIDE_SIZES.map((n) => form(`${mnemonic}_r${n}_rm${n}`, define))
  );
}

// --- BMI ---------------------------------------------------------------------

type Lowest = (value: I64) => { result: I64; cf: I32 };

const LOWEST_BIT: Readonly<Record<string, Lowest>> = {
  Blsr: (v) => ({ result: v.and(v.sub(1)), cf: v.eqz() }),
  Blsmsk: (v) => ({ result: v.xor(v.sub(1)), cf: v.eqz() }),
  Blsi: (v) => ({ result: v.and(i64(0).sub(v)), cf: v.ne(0) }),
};

function lowestBit(): Form[] {
  return Object.entries(LOWEST_BIT).flatMap(([mnemonic, compute]) =>
    GPR_SIZES.map((n) =>
      form(`VEX_${mnemonic}_r${n}_rm${n}`, (x) => {
        const { result, cf } = compute(x.read(1));
        const r = x.let(result);
        x.write(0, r);
        x.flags.resultWith(n, r, cf, 0);
      })
    )
  );
}

function andn(): Form[] {
  return GPR_SIZES.map((n) =>
    form(`VEX_Andn_r${n}_r${n}_rm${n}`, (x) => {
      const b = x.read(2);
      const r = x.let(x.read(1).xor(-1).and(b));
      x.write(0, r);
      x.flags.logic(n, r);
    })
  );
}

// All ones below bit `n`; `n` counts to 255.
function onesBelow(n: I64): I64 {
  return i64(1).shl(n).sub(1).when(n.ltU(64), -1);
}

function bzhi(): Form[] {
  return GPR_SIZES.map((n) =>
    form(`VEX_Bzhi_r${n}_rm${n}_r${n}`, (x) => {
      const value = x.read(1);
      const first = x.let(x.read(2).and(0xff));
      const r = x.let(value.and(onesBelow(first)));
      x.write(0, r);
      x.flags.resultWith(n, r, first.geU(n), 0);
    })
  );
}

function bextr(): Form[] {
  return GPR_SIZES.map((n) =>
    form(`VEX_Bextr_r${n}_rm${n}_r${n}`, (x) => {
      const value = x.read(1);
      const control = x.read(2);
      const start = x.let(control.and(0xff));
      const length = x.let(control.shrU(8).and(0xff));
      const shifted = value.shrU(start).when(start.ltU(64), 0);
      const r = x.let(shifted.and(onesBelow(length)));
      x.write(0, r);
      x.flags.resultWith(n, r, 0, 0, 1);
    })
  );
}

function throughMask(): Form[] {
  const functions = { Pdep: "depositBits", Pext: "extractBits" } as const;
  return (["Pdep", "Pext"] as const).flatMap((mnemonic) =>
    GPR_SIZES.map((n) =>
      form(`VEX_${mnemonic}_r${n}_r${n}_rm${n}`, (x) => {
        const mask = x.read(2);
        const [r] = x.call(functions[mnemonic], x.read(1), mask);
        x.write(0, r);
      })
    )
  );
}

// --- Byte swaps --------------------------------------------------------------

function swap32(x: Emitter, value: I32): I32 {
  const v = x.let(value);
  return v.rotl(8).and(0x00ff00ff).or(v.rotr(8).and(0xff00ff00));
}

function swapped(x: Emitter, value: I64, size: OpSize): I64 {
  if (size < 64) {
    return swap32(x, value.toI32()).toI64U().shrU(32 - size);
  }
  const high = swap32(x, value.toI32()).toI64U().shl(32);
  return high.or(swap32(x, value.shrU(32).toI32()).toI64U());
}

function byteSwaps(): Form[] {
  return [
    // BSWAP of 16 bits is undefined: processors answer zero.
    form("Bswap_r16", (x) => x.write(0, i64(0))),
    ...GPR_SIZES.map((n) =>
      form(`Bswap_r${n}`, (x) => x.write(0, swapped(x, x.read(0), n)))
    ),
    ...WIDE_SIZES.flatMap((n) => [
      form(
        `Movbe_r${n}_m${n}`,
        (x) => x.write(0, swapped(x, x.read(1, n), n)),
      ),
      form(
        `Movbe_m${n}_r${n}`,
        (x) => x.write(0, swapped(x, x.read(1), n), n),
        { access: "write" },
      ),
    ]),
  ];
}

// --- Arithmetic --------------------------------------------------------------

const CRC_FORMS = [
  ["Crc32_r32_rm8", "crc8"],
  ["Crc32_r64_rm8", "crc8"],
  ["Crc32_r32_rm16", "crc16"],
  ["Crc32_r32_rm32", "crc32"],
  ["Crc32_r64_rm64", "crc64"],
] as const;

function crc(): Form[] {
  return CRC_FORMS.map(([name, compute]) =>
    form(name, (x) => {
      const data = x.read(1);
      const [r] = x.call(compute, x.read(0, 32), data);
      x.write(0, r, 64);
    })
  );
}

// Addition through one flag alone: ADCX carries in CF, ADOX in OF.
function addThrough(
  mnemonic: "Adcx" | "Adox",
  read: (x: Emitter) => I32,
  write: (x: Emitter, carry: I32) => void,
): Form[] {
  return GPR_SIZES.map((n) =>
    form(`${mnemonic}_r${n}_rm${n}`, (x) => {
      const b = x.read(1);
      const a = x.read(0);
      const r = x.let(a.add(b).add(read(x).toI64U()));
      const out = n === 64
        ? a.and(b).or(a.or(b).and(r.xor(-1))).shrU(63)
        : r.shrU(32);
      const carry = x.let(out.toI32());
      x.write(0, r);
      write(x, carry);
    })
  );
}

/** The forms of this group. */
export const BIT_FORMS: readonly Form[] = [
  ...bitTests(),
  ...scansAndCounts(),
  ...lowestBit(),
  ...andn(),
  ...bzhi(),
  ...bextr(),
  ...throughMask(),
  ...byteSwaps(),
  ...crc(),
  ...addThrough(
    "Adcx",
    (x) => x.flags.cf(),
    (x, carry) => x.flags.setCf(carry),
  ),
  ...addThrough(
    "Adox",
    (x) => x.flags.of(),
    (x, carry) => x.flags.setCfOf(x.let(x.flags.cf()), carry),
  ),
];
