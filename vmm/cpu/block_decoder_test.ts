import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../tests/cpu/fuzz/prng.ts";
import { BlockDecoder, type DecodingSource } from "./block_decoder.ts";
import { BlockWriter } from "./block_writer.ts";
import { FORMS } from "./forms/by_code.ts";
import { MODE } from "./mode.ts";
import { shapeNumber } from "./shape.ts";
import { STATE_PAGES } from "./state.ts";
import { Templates } from "./templates.ts";
import { hexBytes } from "./testing.ts";

const { FLAT, OSFXSR, PROTECTED, STACK32, TS, EM } = MODE;
const MODES = [
  2 | STACK32 | FLAT | PROTECTED | OSFXSR,
  2 | STACK32 | FLAT | PROTECTED | TS | EM,
  1 | STACK32 | FLAT | PROTECTED | OSFXSR,
  1 | PROTECTED | OSFXSR,
  0 | PROTECTED | FLAT,
  0,
];
const AT = 0x1000;

// What decoding writes to, and which forms it asked handlers for.
class Sink implements DecodingSource {
  readonly words = new Int32Array(STATE_PAGES * 16384);
  readonly state = new DataView(this.words.buffer);
  readonly decoderOptions = 0;
  readonly asked: string[] = [];
  readonly #handlers = new Map<string, number>();

  supports(): boolean {
    return true;
  }

  handler(...[definition, shape]: Parameters<DecodingSource["handler"]>) {
    if (definition.operands.length > 0) this.asked.push(definition.name);
    const key = `${definition.name} ${shapeNumber(shape)}`;
    const known = this.#handlers.get(key) ?? this.#handlers.size;
    this.#handlers.set(key, known);
    return known;
  }
}

// Everything is decoded.
class NoTemplates extends Templates {
  override find(): number {
    return 0;
  }
}

// The words of a block's records and how it ended.
function decode(
  sink: Sink,
  decoder: BlockDecoder,
  bytes: Uint8Array,
  start: number,
  mode: number,
) {
  const writer = new BlockWriter(sink, AT, mode);
  const code = { bytes, from: 0, to: bytes.length, inPage: start, mode };
  const count = decoder.decodeInto(writer, code, 3);
  writer.close();
  const { end, bodyEnd, lastEnd } = writer;
  return [count, bodyEnd, lastEnd, ...sink.words.slice(AT >> 2, end >> 2)];
}

const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x36, 0x48, 0x45, 0x41];

function randomCode(prng: Prng): Uint8Array {
  const bytes = Uint8Array.from({ length: 60 }, () => prng.below(256));
  let at = 0;
  while (prng.chance(50)) bytes[at++] = prng.pick(PREFIXES);
  if (prng.chance(33)) bytes[at++] = 0x0f;
  return bytes;
}

Deno.test("instructions that begin alike become what each alone becomes", () => {
  const prng = new Prng(20261125);
  const sink = new Sink();
  const decoder = new BlockDecoder(sink);
  const alone = new BlockDecoder(sink, new NoTemplates());
  for (let n = 0; n < 6000; n++) {
    const code = randomCode(prng);
    const mode = prng.pick(MODES);
    for (let again = 0; again < 4; again++) {
      const start = prng.below(4096 - 60);
      const actual = decode(sink, decoder, code, start, mode);
      const message = `${[...code]} at ${start} in mode ${mode}`;
      assertEquals(actual, decode(sink, alone, code, start, mode), message);
      for (let at = 1 + prng.below(8); at < 16; at++) {
        code[at] = prng.below(256);
      }
    }
  }
});

for (
  const [name, first, then] of [
    ["a displacement", "488b4508", "488b45f8"],
    ["an address relative to RIP", "488b0500000010", "488b05ffffffff"],
    ["an immediate", "81c101000000", "81c1ffffffff"],
    ["both", "c7450801000000", "c745f0ffffff7f"],
    ["64 bits", "48b80102030405060708", "48b8ffffffffffffffff"],
    ["a branch", "0f8410000000", "0f84f0ffffff"],
    ["two immediates", "c8100001", "c8ffff1f"],
  ] as const
) {
  Deno.test(`${name} is not decoded again`, () => {
    const sink = new Sink();
    const decoder = new BlockDecoder(sink);
    decode(sink, decoder, hexBytes(first), 0x10, MODES[0]!);
    assertEquals(sink.asked.length, 1);
    assert(FORMS.values().some(({ name }) => name === sink.asked[0]));
    const other = decode(sink, decoder, hexBytes(then), 0xff0, MODES[0]!);
    assertEquals(sink.asked.length, 1);
    const alone = new BlockDecoder(sink, new NoTemplates());
    assertEquals(
      other,
      decode(sink, alone, hexBytes(then), 0xff0, MODES[0]!),
    );
  });
}

Deno.test("bytes that change while they are decoded teach nothing wrong", () => {
  const code = hexBytes("b801000000");
  const sink = new Sink();
  const ask = sink.handler.bind(sink);
  sink.handler = (...wanted) => {
    code[0] = 0xbb;
    return ask(...wanted);
  };
  const decoder = new BlockDecoder(sink);
  decode(sink, decoder, code, 0, MODES[0]!);
  assertEquals(code[0], 0xbb);
  const alone = new BlockDecoder(sink, new NoTemplates());
  assertEquals(
    decode(sink, decoder, code, 0, MODES[0]!),
    decode(sink, alone, code, 0, MODES[0]!),
  );
});

Deno.test("a unit that cannot be used is seen where its instruction is known", () => {
  const sink = new Sink();
  const decoder = new BlockDecoder(sink);
  const addps = hexBytes("0f58c1");
  decode(sink, decoder, addps, 0, MODES[0]!);
  const alone = new BlockDecoder(sink, new NoTemplates());
  assertEquals(
    decode(sink, decoder, addps, 0, MODES[1]!),
    decode(sink, alone, addps, 0, MODES[1]!),
  );
});
