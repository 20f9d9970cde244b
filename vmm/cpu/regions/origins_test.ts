import { assertEquals, assertNotEquals } from "@std/assert";
import { FunctionBuilder, type I64, ModuleBuilder } from "../wasm/mod.ts";
import { Origins } from "./origins.ts";

const REGISTER = 24;

function setUp() {
  const f = new FunctionBuilder(new ModuleBuilder(), {
    params: [],
    results: [],
  });
  const origins = new Origins();
  const register = f.reserve("i64");
  origins.name(REGISTER, register.index);
  return { f, origins, register: (): I64 => f.let(register.get()) };
}

Deno.test("origins: displacements and kept values have the base's key", () => {
  const { f, origins, register } = setUp();
  const { key } = origins.of(register());
  const at = f.let(register().add(16));
  assertEquals(origins.of(at), { key, offset: 16n });
  assertEquals(origins.of(at.sub(24)), { key, offset: -8n });
  assertEquals(origins.of(at.toI32().toI64U()), { key, offset: 16n });
});

Deno.test("origins: a register that moved by a constant has them still", () => {
  const { origins, register } = setUp();
  const before = origins.of(register());
  origins.assign(REGISTER, register().add(8));
  assertEquals(origins.of(register()), { key: before.key, offset: 8n });
  origins.forget();
  assertEquals(origins.of(register()), before);
});

Deno.test("origins: what is not known has a key of its own each time", () => {
  const { origins, register } = setUp();
  const product = register().mul(3);
  assertNotEquals(origins.of(product).key, origins.of(product).key);
  origins.assign(REGISTER, product);
  const { key } = origins.of(register());
  assertEquals(origins.of(register().add(1)), { key, offset: 1n });
});

Deno.test("origins: an index counts, and in any order", () => {
  const { f, origins, register } = setUp();
  const other = f.reserve("i64");
  origins.name(REGISTER + 8, other.index);
  const scaled = (offset: number) =>
    register().add(f.let(other.get()).shl(3)).add(offset);
  const { key } = origins.of(scaled(0));
  assertEquals(origins.of(scaled(4)), { key, offset: 4n });
  const turned = f.let(other.get()).shl(3).add(register());
  assertEquals(origins.of(turned).key, key);
  assertNotEquals(origins.of(register()).key, key);
});
