import { assertEquals } from "@std/assert";
import { Answerer, Asker, mailMemory } from "./mail.ts";

function pair(): { asker: Asker; answerer: Answerer; bell: Int32Array } {
  const bell = new SharedArrayBuffer(4);
  const memory = mailMemory(bell);
  const asker = new Asker(memory);
  assertEquals(asker.isHeard, false);
  const answerer = new Answerer(memory);
  return { asker, answerer, bell: new Int32Array(bell) };
}

Deno.test("a question is heard once and its answer taken once", () => {
  const { asker, answerer, bell } = pair();
  assertEquals(asker.isHeard, true);
  assertEquals(answerer.next(), undefined);
  assertEquals(asker.ask(Uint8Array.of(1, 2, 3)), true);
  assertEquals(bell[0], 1);
  assertEquals(answerer.next(), Uint8Array.of(1, 2, 3));
  assertEquals(answerer.next(), undefined);
  assertEquals(asker.isAnswered, false);
  answerer.answer(Uint8Array.of(4));
  assertEquals(asker.isAnswered, true);
  assertEquals(asker.take(), Uint8Array.of(4));
  assertEquals(asker.isAnswered, false);
});

Deno.test("no answer, and one that is too long, answer with nothing", () => {
  const { asker, answerer } = pair();
  answerer.answer(undefined);
  assertEquals(asker.isAnswered, true);
  assertEquals(asker.take(), undefined);
  answerer.answer(new Uint8Array(5 << 20));
  assertEquals(asker.take(), undefined);
  assertEquals(asker.ask(new Uint8Array(5 << 20)), false);
});
