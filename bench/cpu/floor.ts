// What the host could do at best with threaded code of this shape: the loop of
// "loads, stores, adds" as seven hand-written handlers without flags beyond the
// last result. The engine is measured against it in the same run.

import {
  type FunctionBuilder,
  FunctionTable,
  type I32,
  i32,
  type I64,
  type Memory,
  ModuleBuilder,
} from "../../vmm/cpu/wasm/mod.ts";

const REGISTERS = 0x100;
const RESULT = 0x200;
const BUDGET = 0x208;
const TLB = 0x1000;
const RECORDS = 0x20000;
const RECORD = 32;
const ENTRIES = 1024;
const BUFFER = 0x10_0000;
const TYPE = { params: ["i32"], results: ["i32"] } as const;

class Floor {
  readonly m = new ModuleBuilder();
  readonly memory: Memory<"i32">;

  constructor() {
    this.memory = this.m.importMemory("e", "m", "i32", {
      min: 1,
      max: 65536,
      shared: true,
    });
    this.m.importTable("e", "t", TYPE, 1);
  }

  handler(name: string, body: (f: FunctionBuilder, record: I32) => void) {
    return this.m.func(name, TYPE.params, TYPE.results, (f) => {
      const record = f.param(0, "i32");
      body(f, record);
      const next = f.let(record.add(RECORD));
      f.returnCallIndirect(TYPE, this.memory.load32(next), next);
    });
  }

  register(record: I32, field: number): I64 {
    return this.memory.load64(this.memory.load32(record, field));
  }

  set(f: FunctionBuilder, record: I32, value: I64): void {
    const kept = f.let(value);
    f.do(this.memory.store64(this.memory.load32(record, 4), kept));
    f.do(this.memory.store64(0, kept, RESULT));
  }

  // Address of the operand [base + imm], checked by a TLB entry.
  address(f: FunctionBuilder, record: I32): I64 {
    const { memory } = this;
    const la = f.let(
      this.register(record, 12).add(memory.load64(record, 16)),
    );
    const entry = f.let(la.shrU(8).toI32().and(0x3ff0));
    const page = la.add(7).and(-4096);
    f.if(page.ne(memory.load64(entry, TLB)), () => f.unreachable());
    return f.let(la.add(memory.load64(entry, TLB + 8)));
  }
}

/** Million instructions a second of the best of `runs` runs. */
export function measureFloor(runs: number): number {
  const floor = new Floor();
  const { memory } = floor;
  const handlers = [
    floor.handler("load", (f, r) => {
      const at = floor.address(f, r);
      f.do(memory.store64(memory.load32(r, 4), memory.load64(at.toI32())));
    }),
    floor.handler("xor", (f, r) => {
      floor.set(f, r, floor.register(r, 4).xor(floor.register(r, 8)));
    }),
    floor.handler("add", (f, r) => {
      floor.set(f, r, floor.register(r, 4).add(floor.register(r, 8)));
    }),
    floor.handler("store", (f, r) => {
      const at = floor.address(f, r);
      f.do(memory.store64(at.toI32(), floor.register(r, 4)));
    }),
    floor.handler("add immediate", (f, r) => {
      floor.set(f, r, floor.register(r, 4).add(memory.load64(r, 16)));
    }),
    floor.handler("jump", (f, r) => {
      f.if(memory.load64(0, RESULT).ne(0), () => {
        const left = memory.load32(0, BUDGET).sub(1);
        f.do(memory.store32(0, left, BUDGET));
        const target = f.let(memory.load32(r, 24));
        f.returnCallIndirect(TYPE, memory.load32(target), target);
      });
    }),
    floor.m.func("end", TYPE.params, TYPE.results, (f) => f.return(i32(0))),
  ];
  for (const ref of handlers) floor.m.export(ref);
  floor.m.elements(0, handlers);
  return time(floor.m, runs);
}

function time(m: ModuleBuilder, runs: number): number {
  const memory = new WebAssembly.Memory({
    initial: 64,
    maximum: 65536,
    shared: true,
  });
  const { table } = new FunctionTable(TYPE, 16);
  const module = new WebAssembly.Module(m.encode());
  const { exports } = new WebAssembly.Instance(module, {
    e: { m: memory, t: table },
  });
  const view = new DataView(memory.buffer);
  for (let n = 0; n < ENTRIES; n++) {
    const page = BUFFER + n * 4096;
    view.setBigInt64(TLB + (page >> 8 & 0x3ff0), BigInt(page), true);
  }
  const at = (n: number) => REGISTERS + 8 * n;
  // handler, destination, source, base, immediate
  const records: readonly (readonly number[])[] = [
    [0, at(0), 0, at(6), 0],
    [1, at(0), at(2), 0, 0],
    [2, at(3), at(0), 0, 0],
    [3, at(3), 0, at(7), 0],
    [4, at(6), 0, 0, 8],
    [4, at(7), 0, 0, 8],
    [4, at(1), 0, 0, -1],
    [5, 0, 0, 0, 0],
    [6, 0, 0, 0, 0],
  ];
  records.forEach((fields, n) => {
    const record = RECORDS + n * RECORD;
    for (let k = 0; k < 4; k++) {
      view.setInt32(record + 4 * k, fields[k]!, true);
    }
    view.setBigInt64(record + 16, BigInt(fields[4]!), true);
    view.setInt32(record + 24, RECORDS, true);
  });
  const turns = 16_000;
  const first = exports.load as (record: number) => number;
  let best = Infinity;
  for (let n = 0; n < runs; n++) {
    view.setBigInt64(at(1), BigInt(turns), true);
    view.setBigInt64(at(6), BigInt(BUFFER), true);
    view.setBigInt64(at(7), BigInt(BUFFER + 0x10_0000), true);
    const start = performance.now();
    first(RECORDS);
    best = Math.min(best, performance.now() - start);
  }
  return turns * 8 / best / 1000;
}
