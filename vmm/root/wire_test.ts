import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { decodeJson, encodeJson } from "./codec.ts";
import { encodeFrame, FrameReader, WireError } from "./wire.ts";

/** Gives out bytes in parts of some sizes. */
function source(bytes: Uint8Array, step: number) {
  let at = 0;
  return {
    read(buffer: Uint8Array): Promise<number | null> {
      const part = bytes.subarray(at, at + Math.min(step, buffer.length));
      buffer.set(part);
      at += part.length;
      return Promise.resolve(part.length === 0 ? null : part.length);
    },
  };
}

function joined(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

Deno.test("numbers of 64 bits go through JSON", () => {
  const value = { a: 2n ** 64n - 1n, b: [-1n, 5, "x"], c: null };
  assertEquals(decodeJson(encodeJson(value)), value);
  const bad = ['{"$bigint":5}', '{"$bigint":"x"}', '{"$bigint":"1e9"}'];
  for (const text of [...bad, `{"$bigint":"${"9".repeat(30)}"}`]) {
    assertThrows(() => decodeJson(text), SyntaxError);
  }
});

Deno.test("frames come through however they are cut", async () => {
  const bytes = Uint8Array.from({ length: 10_000 }, (_, n) => n & 0xff);
  const stream = joined(encodeFrame({ n: 1n }), encodeFrame("two", bytes));
  for (const step of [1, 7, 4096, 1 << 20]) {
    const reader = new FrameReader(source(stream, step));
    assertEquals(await reader.next(), {
      json: { n: 1n },
      bytes: new Uint8Array(),
    });
    assertEquals(await reader.next(), { json: "two", bytes });
    assertEquals(await reader.next(), undefined);
  }
});

Deno.test("what is no frame is an error, and nothing large is waited for", async () => {
  const frame = encodeFrame({ a: 1 });
  const long = frame.slice();
  new DataView(long.buffer).setUint32(0, 2 ** 31, true);
  const crossed = frame.slice();
  new DataView(crossed.buffer).setUint32(4, 1000, true);
  const noJson = frame.slice();
  noJson.fill(0xff, 8);
  const cut = frame.subarray(0, frame.length - 1);
  for (const bytes of [long, crossed, noJson, cut, frame.subarray(0, 3)]) {
    const reader = new FrameReader(source(bytes, 64));
    await assertRejects(() => reader.next(), WireError);
  }
});
