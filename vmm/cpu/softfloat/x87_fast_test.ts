import { assert, assertEquals } from "@std/assert";
import { type FunctionBuilder, i32, i64, ModuleBuilder } from "../wasm/mod.ts";
import { type Exports, Random } from "./_reference.ts";
import {
  defineSoftFloat,
  F32_FORMAT,
  F64_FORMAT,
  fastCompare,
  fastInteger,
  fastNarrow,
  fastProduct,
  fastQuotient,
  fastSum,
  fastWiden,
  isNearest,
  whereNormal,
  type Wide,
} from "./mod.ts";

const BINARY = ["i64", "i32", "i64", "i32", "i32"] as const;
const RESULT = ["i64", "i32", "i32"] as const;
/** What a fast path that does not hold gives in place of flags. */
const NONE = -1;

function operands(f: FunctionBuilder) {
  return {
    a: { sig: f.param(0, "i64"), se: f.param(1, "i32") },
    b: { sig: f.param(2, "i64"), se: f.param(3, "i32") },
  };
}

function defineFast(m: ModuleBuilder, wide: Wide): void {
  const binary = {
    add: (op: Parameters<typeof fastSum>[0]) => fastSum(op, false),
    sub: (op: Parameters<typeof fastSum>[0]) => fastSum(op, true),
    mul: fastProduct,
    div: (op: Parameters<typeof fastSum>[0]) => fastQuotient(op, wide),
  };
  for (const [name, emit] of Object.entries(binary)) {
    m.export(m.func(`fast_${name}`, BINARY, RESULT, (f) => {
      const { a, b } = operands(f);
      const cw = f.param(4, "i32");
      const done = f.return.bind(f);
      whereNormal(f, isNearest(cw), [a, b], () => emit({ f, a, b, cw, done }));
      f.return(i64(0), i32(0), i32(NONE));
    }));
  }
  m.export(m.func("fast_compare", BINARY.slice(0, 4), ["i32", "i32"], (f) => {
    const { a, b } = operands(f);
    fastCompare(f, a, b, (relation) => f.return(relation, i32(0)));
    f.return(i32(NONE), i32(0));
  }));
}

function defineFastMoves(m: ModuleBuilder): void {
  const widened = ["i64", "i32"] as const;
  for (const format of [F32_FORMAT, F64_FORMAT]) {
    m.export(m.func(`fast_widen_${format.name}`, ["i64"], widened, (f) => {
      fastWiden(f, format, f.param(0, "i64"), f.return.bind(f));
      f.return(i64(0), i32(NONE));
    }));
    const unary = ["i64", "i32", "i32"] as const;
    m.export(m.func(`fast_store_${format.name}`, unary, widened, (f) => {
      const a = { sig: f.param(0, "i64"), se: f.param(1, "i32") };
      whereNormal(
        f,
        isNearest(f.param(2, "i32")),
        [a],
        () => fastNarrow(f, format, a, f.return.bind(f)),
      );
      f.return(i64(0), i32(NONE));
    }));
  }
  m.export(m.func("fast_int", ["i64"], widened, (f) => {
    fastInteger(f, f.param(0, "i64"), f.return.bind(f));
    f.return(i64(0), i32(NONE));
  }));
}

function compile(): Exports {
  const m = new ModuleBuilder();
  const { x87, wide } = defineSoftFloat(m);
  for (const ref of Object.values(x87)) m.export(ref);
  defineFast(m, wide);
  defineFastMoves(m);
  const module = new WebAssembly.Module(m.encode());
  return new WebAssembly.Instance(module).exports as Exports;
}

const sf = compile();
const CASES = 20_000;
const INTEGER_BIT = 1n << 63n;

function number(random: Random): [bigint, number] {
  const field = [0, 1, 0x7ffe, 0x7fff][random.below(40)] ??
    16383 - 70 + random.below(140);
  const integer = random.below(50) === 0 ? 0n : INTEGER_BIT;
  return [integer | random.pattern(63), field | random.below(2) << 15];
}

// Mostly to the nearest, at any precision; PE masked or not.
function control(random: Random): number {
  const rc = random.below(8) === 0 ? random.below(4) : 0;
  return 0x1f | random.below(2) << 5 | random.below(4) << 8 | rc << 10;
}

/** Compares results where there is a fast one; answers how many there were. */
function compare(
  fast: string,
  full: string,
  make: (random: Random) => (bigint | number)[],
  isNone: (result: readonly (bigint | number)[]) => boolean,
): number {
  const random = new Random(BigInt(fast.length));
  let found = 0;
  for (let n = 0; n < CASES; n++) {
    const args = make(random);
    const result = [sf[fast]!(...args)].flat();
    if (isNone(result)) continue;
    found++;
    const label = `${fast} ${args.map((a) => a.toString(16))}`;
    assertEquals(result, [sf[full]!(...args)].flat(), label);
  }
  return found;
}

for (const name of ["add", "sub", "mul", "div"]) {
  Deno.test(`softfloat x87: the fast ${name} gives what the full one does`, () => {
    const found = compare(
      `fast_${name}`,
      `x87_${name}`,
      (random) => [...number(random), ...number(random), control(random)],
      ([, , flags]) => flags === NONE,
    );
    assert(found > CASES / 3, `${found} were fast`);
  });
}

Deno.test("softfloat x87: the fast comparison gives what the full one does", () => {
  const found = compare(
    "fast_compare",
    "x87_compare_quiet",
    (random) => {
      const a = number(random);
      // Equal numbers and zeros are what chance does not bring.
      const b = [a, [0n, 0], [0n, 0x8000]][random.below(6)] ?? number(random);
      return [...a, ...b as [bigint, number]];
    },
    ([relation]) => relation === NONE,
  );
  assert(found > CASES / 3, `${found} were fast`);
});

for (const format of ["f32", "f64"] as const) {
  Deno.test(`softfloat x87: the fast ways to and from ${format} give what the full ones do`, () => {
    const none = ([, se]: readonly (bigint | number)[]) => se === NONE;
    const bits = (random: Random) => [
      random.bits() >> (format === "f32" ? 32n : 0n),
    ];
    const widened = compare(
      `fast_widen_${format}`,
      `x87_widen_${format}`,
      bits,
      none,
    );
    assert(widened > CASES / 2, `${widened} were fast`);
    const narrowed = compare(
      `fast_store_${format}`,
      `x87_store_${format}`,
      (random) => [...number(random), control(random)],
      none,
    );
    assert(narrowed > CASES / 3, `${narrowed} were fast`);
  });
}

Deno.test("softfloat x87: the fast integer gives what the full one does", () => {
  const found = compare(
    "fast_int",
    "x87_load_int",
    (random) => [BigInt.asIntN(64, random.bits()) >> BigInt(random.below(64))],
    ([, se]) => se === NONE,
  );
  assert(found > CASES / 2, `${found} were fast`);
});
