import { assertEquals, assertThrows } from "@std/assert";
import { createMemory64, createTag } from "./host.ts";
import {
  bitsOf,
  f64,
  type FuncRef,
  FunctionBuilder,
  FunctionTable,
  i32,
  i64,
  ModuleBuilder,
  MOSTLY,
  RARELY,
  splat,
  v128i64,
} from "./mod.ts";

// deno-lint-ignore no-explicit-any
function instantiate(m: ModuleBuilder, imports: any = {}): any {
  const module = new WebAssembly.Module(m.encode());
  return new WebAssembly.Instance(module, imports).exports;
}

function exported(m: ModuleBuilder, ref: FuncRef): FuncRef {
  m.export(ref);
  return ref;
}

Deno.test("module: arithmetic, loops and variables", () => {
  const m = new ModuleBuilder();
  exported(
    m,
    m.func("sum", ["i32"], ["i32"], (f) => {
      const n = f.param(0, "i32");
      const i = f.var("i32");
      const total = f.var("i32");
      f.block((end) =>
        f.loop((again) => {
          f.brIf(end, i.get().geS(n));
          f.set(total, total.get().add(i.get()));
          f.set(i, i.get().add(1));
          f.br(again);
        })
      );
      f.return(total.get());
    }),
  );
  assertEquals(instantiate(m).sum(10), 45);
});

Deno.test("module: functions of the same code are one where that is wanted", () => {
  const m = new ModuleBuilder();
  const adding = (n: number, result: "i32" | "i64" = "i32") => {
    const f = new FunctionBuilder(m, { params: [result], results: [result] });
    f.return(f.param(0, result).add(n));
    return f;
  };
  const first = m.addOnce("first", adding(1));
  const other = m.addOnce("other", adding(2));
  assertEquals(m.addOnce("again", adding(1)), first);
  const wide = m.addOnce("wide", adding(1, "i64"));
  assertEquals(new Set([first, other, wide].map((f) => f.index)).size, 3);
  for (const ref of [first, other, wide]) m.export(ref);
  const exports = instantiate(m);
  assertEquals([exports.first(1), exports.other(1)], [2, 3]);
  assertEquals(exports.wide(1n), 2n);
});

Deno.test("module: switch picks its case and the default", () => {
  const m = new ModuleBuilder();
  exported(
    m,
    m.func("pick", ["i32"], ["i32"], (f) => {
      const r = f.var("i32");
      f.switch(
        f.param(0, "i32"),
        [10, 20, 30].map((n) => () => f.set(r, i32(n))),
        () => f.set(r, i32(-1)),
      );
      f.return(r.get());
    }),
  );
  const { pick } = instantiate(m);
  assertEquals([0, 1, 2, 3, -1].map(pick), [10, 20, 30, -1, -1]);
});

Deno.test("module: constants encode at every length", () => {
  const values = [
    0n,
    63n,
    64n,
    -64n,
    -65n,
    0x7fffffffn,
    -0x80000000n,
    0x80000000n,
    -(1n << 63n),
    (1n << 63n) - 1n,
  ];
  const m = new ModuleBuilder();
  values.forEach((v, n) =>
    exported(m, m.func(`c${n}`, [], ["i64"], (f) => f.return(i64(v))))
  );
  const e = instantiate(m);
  assertEquals(values.map((_, n) => e[`c${n}`]()), values);
});

Deno.test("module: two memories, one of them memory64 and shared", () => {
  const m = new ModuleBuilder();
  const a = m.importMemory("e", "a", "i32", { min: 1, max: 1, shared: false });
  const b = m.importMemory("e", "b", "i64", { min: 1, max: 2, shared: true });
  exported(
    m,
    m.func("move", ["i32", "i64"], ["i64"], (f) => {
      const v = f.let(a.load(4, f.param(0, "i32")));
      f.do(b.store(8, f.param(1, "i64"), v.add(1), 8));
      const old = f.let(b.atomicRmw("add", 8, f.param(1, "i64"), 5, 8));
      f.return(old);
    }),
  );
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const wide = createMemory64(1, 2);
  new DataView(memory.buffer).setUint32(4, 0xffffffff, true);
  const { move } = instantiate(m, { e: { a: memory, b: wide } });
  assertEquals(move(4, 16n), 0x100000000n);
  assertEquals(
    new DataView(wide.buffer).getBigUint64(24, true),
    0x100000005n,
  );
});

Deno.test("module: tail calls through a table do not grow the stack", () => {
  const m = new ModuleBuilder();
  const type = { params: ["i32"], results: ["i32"] } as const;
  m.importTable("e", "t", type, 1);
  const down = m.func("down", type.params, type.results, (f) => {
    const n = f.param(0, "i32");
    f.if(n, () => f.returnCallIndirect(type, 0, n.sub(1)));
    f.return(i32(7));
  });
  exported(m, down);
  m.elements(0, [down]);
  const { table } = new FunctionTable(type, 1);
  assertEquals(instantiate(m, { e: { t: table } }).down(1_000_000), 7);
});

Deno.test("module: exceptions carry values and keep locals", () => {
  const m = new ModuleBuilder();
  const tag = m.importTag("e", "x", ["i32", "i64"]);
  const raise = m.func("raise", ["i32"], [], (f) => {
    f.if(
      f.param(0, "i32"),
      () => f.throw(tag, f.param(0, "i32"), i64(1n << 40n)),
    );
  });
  exported(
    m,
    m.func("guard", ["i32"], ["i64"], (f) => {
      const state = f.var("i64", i64(1));
      f.try(
        () => {
          f.set(state, i64(2));
          f.call(raise, f.param(0, "i32"));
          f.set(state, i64(3));
        },
        tag,
        (n, wide) =>
          f.set(state, wide.add(n.toI64U()).add(state.get().mul(1000))),
      );
      f.return(state.get());
    }),
  );
  const x = createTag(["i32", "i64"]);
  const { guard } = instantiate(m, { e: { x } });
  assertEquals(guard(0), 3n);
  assertEquals(guard(5), (1n << 40n) + 5n + 2000n);
});

Deno.test("module: vectors", () => {
  const m = new ModuleBuilder();
  exported(
    m,
    m.func("v", [], ["i64"], (f) => {
      const a = v128i64(0x0102030405060708n, -1n);
      const b = a.binary("i8x16.add", splat("i8x16", i32(1)));
      const c = b.shuffle(b, [
        7,
        6,
        5,
        4,
        3,
        2,
        1,
        0,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
      ]);
      f.return(
        c.lane("i64x2.extract_lane", 0).add(c.lane("i64x2.extract_lane", 1)),
      );
    }),
  );
  assertEquals(instantiate(m).v(), 0x0908070605040302n);
  assertThrows(() => v128i64(0n, 0n).shuffle(v128i64(0n, 0n), [1]), RangeError);
});

Deno.test("module: an expression folds constants", () => {
  assertEquals(i64(5).add(7).value, 12n);
  assertEquals(i64(-1).shrU(60).value, 15n);
  assertEquals(i32(3).shl(31).value, -2147483648);
  const m = new ModuleBuilder();
  exported(
    m,
    m.func("f", [], ["f64"], (f) => {
      f.if(i64(1).eqz(), () => f.unreachable());
      f.return(f64(1.5).add(2));
    }),
  );
  assertEquals(instantiate(m).f(), 3.5);
});

Deno.test("module: a local is recycled after its scope, and starts at zero", () => {
  const m = new ModuleBuilder();
  exported(
    m,
    m.func("f", ["i64"], ["i64"], (f) => {
      f.scope(() => {
        f.let(f.param(0, "i64").mul(3));
      });
      const v = f.var("i64");
      f.return(v.get());
    }),
  );
  assertEquals(instantiate(m).f(9n), 0n);
});

Deno.test("module: misuse is refused with what is wrong", () => {
  const m = new ModuleBuilder();
  const g = m.func("g", ["i64"], [], () => {});
  assertThrows(
    () => m.func("h", [], [], (f) => void f.call(g, i32(1))),
    TypeError,
    "Cannot call a function of (i64) with (i32)",
  );
  assertThrows(() => m.importFunction("e", "late", [], []), Error, "late");
  assertThrows(() => i64(2 ** 60), RangeError);
  assertThrows(
    () => m.func("p", ["i32"], [], (f) => void f.param(0, "i64")),
    TypeError,
  );
  const open = new ModuleBuilder();
  open.declare("never", [], []);
  assertThrows(() => open.encode(), Error, "never");
});

Deno.test("module: branch hints tell where a branch is and what it does", () => {
  const m = new ModuleBuilder();
  exported(
    m,
    m.func("check", ["i32"], ["i32"], (f) => {
      const n = f.param(0, "i32");
      f.if(n.eqz(), () => f.return(i32(7)));
      f.if(n.ltS(0), () => f.unreachable());
      f.block((end) => f.brIf(end, n.eq(1), MOSTLY));
      f.rarely(n.eq(2), () => f.return(i32(9)));
      f.return(n);
    }),
  );
  const module = new WebAssembly.Module(m.encode());
  const [section] = WebAssembly.Module.customSections(
    module,
    "metadata.code.branch_hint",
  );
  // No locals: the body begins with the count of 0.
  const first = 1 + 3 + 6; // local.get, i32.eqz, if ... end
  assertEquals(
    [...new Uint8Array(section!)],
    [
      ...[1, 0, 3],
      ...[first + 5, 1, RARELY],
      ...[first + 5 + 4 + 7, 1, MOSTLY],
      ...[first + 5 + 4 + 7 + 3 + 5, 1, RARELY],
    ],
  );
  const { check } = new WebAssembly.Instance(module).exports as {
    check(n: number): number;
  };
  assertEquals([0, 1, 2].map(check), [7, 1, 9]);
});

Deno.test("module: what is known of a value's bits saves its extension", () => {
  const m = new ModuleBuilder();
  m.func("bits", ["i64", "i64"], [], (f) => {
    const a = f.param(0, "i64");
    const low = f.let(a.toI32().toI64U());
    assertEquals(bitsOf(a), 64);
    assertEquals(bitsOf(low), 32);
    assertEquals(low.toI32().toI64U(), low);
    assertEquals(low.and(0xffff_ffff), low);
    assertEquals(bitsOf(low.or(i64(0xff))), 32);
    assertEquals(bitsOf(low.shrU(24)), 8);
    assertEquals(bitsOf(low.shrU(a)), 32);
    assertEquals(bitsOf(a.and(0xff).when(a.eqz(), low)), 32);
    assertEquals(bitsOf(a.and(0xff)), 8);
    // Sums and shifts to the left may need more, negative numbers need all.
    assertEquals(bitsOf(low.add(low)), 64);
    assertEquals(bitsOf(low.shl(1)), 64);
    assertEquals(bitsOf(i64(-1)), 64);
    assertEquals(bitsOf(a.within(9)), 9);
    // That of one use of a local says nothing of another.
    assertEquals(bitsOf(f.param(0, "i64")), 64);
  });
});

Deno.test("module: a text is kept in it", () => {
  const m = new ModuleBuilder();
  m.keep("names", "a\nb");
  const module = new WebAssembly.Module(m.encode());
  const [section] = WebAssembly.Module.customSections(module, "names");
  assertEquals(new TextDecoder().decode(section), "a\nb");
});

Deno.test("table: entries that are not set trap, and those that were taken out", () => {
  const type = { params: ["i32"], results: ["i32"] } as const;
  const m = new ModuleBuilder();
  m.importTable("e", "t", type, 1);
  const double = m.func(
    "double",
    type.params,
    type.results,
    (f) => f.return(f.param(0, "i32").mul(2)),
  );
  m.elements(1, [double]);
  const functions = new FunctionTable(type, 1);
  functions.grow(2);
  assertEquals(functions.size, 3);
  const { table } = functions;
  instantiate(m, { e: { t: table } });
  const entry = (n: number) => table.get(n) as (value: number) => number;
  assertEquals(entry(1)(21), 42);
  assertThrows(() => entry(2)(21), WebAssembly.RuntimeError);
  functions.unset(1, 1);
  assertThrows(() => entry(1)(21), WebAssembly.RuntimeError);
});
