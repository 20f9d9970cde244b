// Our binding of iced-x86 against the package's own.

import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import * as iced from "iced-x86";
import { Prng } from "../../../tests/cpu/fuzz/prng.ts";
import { FORMS } from "../forms/by_code.ts";
import { calls } from "./calls.ts";
import { decoderOf } from "./decoder.ts";
import * as ours from "./enumerations.ts";
import { decoderPath, readDecoder } from "./file.ts";
import { bytesOf, Instruction } from "./instruction.ts";
import { codesSource } from "./make_codes.ts";

const NUMBERS = [
  ...["code", "mnemonic", "length", "opCount", "memorySegment"],
  ...["memoryBase", "memoryIndex", "memoryIndexScale", "memoryDisplSize"],
  ...["memorySize", "nearBranch16", "nearBranch32", "farBranch16"],
  ...["farBranch32", "farBranchSelector", "immediate8", "immediate8_2nd"],
  ...["immediate16", "immediate32"],
] as (keyof Instruction & keyof iced.Instruction)[];

// Everything that is asked of an instruction.
function told(instruction: Instruction | iced.Instruction): unknown {
  const { isInvalid, hasLockPrefix } = instruction;
  const { hasRepePrefix, hasRepnePrefix } = instruction;
  return [
    [isInvalid, hasLockPrefix, hasRepePrefix, hasRepnePrefix],
    NUMBERS.map((name) => Number(instruction[name]) >>> 0),
    [
      instruction.memoryDisplacement,
      instruction.nearBranch64,
      instruction.immediate64,
    ].map((value) => BigInt.asUintN(64, value)),
    [0, 1, 2, 3, 4].map((n) => instruction.opKind(n)),
    [0, 1, 2, 3, 4].map((n) => instruction.opRegister(n)),
    instruction.cpuidFeatures(),
  ];
}

interface Sample {
  readonly bitness: number;
  readonly bytes: Uint8Array;
  readonly options: number;
  readonly ip: number;
}

const instruction = new Instruction();
const theirs = new iced.Instruction();

function decoded({ bitness, bytes, options, ip }: Sample): unknown {
  const decoder = decoderOf(bitness, options);
  const error = decoder.decode(bytes, ip, instruction);
  const offsets = decoder.immediateOffsets(instruction);
  return [error, told(instruction), offsets];
}

function decodedByPackage({ bitness, bytes, options, ip }: Sample): unknown {
  const decoder = new iced.Decoder(bitness, bytes, options);
  decoder.ip = BigInt(ip);
  decoder.decodeOut(theirs);
  const offsets = decoder.getConstantOffsets(theirs);
  const { hasImmediate, hasImmediate2 } = offsets;
  const { immediateOffset, immediateSize, immediateSize2 } = offsets;
  const result = [decoder.lastError, told(theirs), {
    ...{ hasImmediate, hasImmediate2 },
    ...{ immediateOffset, immediateSize, immediateSize2 },
  }];
  offsets.free();
  decoder.free();
  return result;
}

const OPTIONS = Object.values(ours.DecoderOptions);
const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x36, 0x48, 0x45, 0xc4];

function randomSample(prng: Prng): Sample {
  const length = prng.chance(80) ? 16 : 1 + prng.below(8);
  const bytes = Uint8Array.from({ length }, () => prng.below(256));
  let at = 0;
  while (prng.chance(40)) bytes[at++] = prng.pick(PREFIXES);
  if (prng.chance(33)) bytes[at] = 0x0f;
  return {
    bitness: prng.pick([16, 32, 64]),
    bytes,
    options: OPTIONS.filter(() => prng.chance(40)).reduce((a, b) => a | b, 0),
    ip: prng.below(4096),
  };
}

Deno.test("random bytes are decoded as by the package", () => {
  const prng = new Prng(20261126);
  const errors = new Set<number>();
  for (let n = 0; n < 20_000; n++) {
    const sample = randomSample(prng);
    const [error] = decodedByPackage(sample) as [number];
    assertEquals(
      decoded(sample),
      decodedByPackage(sample),
      JSON.stringify(sample),
    );
    errors.add(error);
  }
  assertEquals([...errors].sort(), Object.values(ours.DecoderError));
});

Deno.test("enumerations are the package's", () => {
  const { OpKind, Register, Mnemonic } = ours;
  const { DecoderError, DecoderOptions, CpuidFeature } = ours;
  const tables = { OpKind, Register, Mnemonic, DecoderError };
  const all = { ...tables, DecoderOptions, CpuidFeature };
  for (const [name, table] of Object.entries(all)) {
    const whole: object = iced[name as keyof typeof all];
    assertEquals({ ...whole, ...table }, whole, name);
  }
  assertEquals(ours.INVALID, iced.Code.INVALID);
});

Deno.test("forms have their codes, and the table of them is as it would be made", async () => {
  for (const [code, { name }] of FORMS) assertEquals(iced.Code[code], name);
  const source = await Deno.readTextFile(new URL("codes.ts", import.meta.url));
  assertEquals(source, codesSource(), "run vmm/cpu/iced/make_codes.ts");
});

Deno.test("codes need what the package says that they need", () => {
  for (const code of Object.values(iced.Code)) {
    if (typeof code !== "number") continue;
    instruction.code = code;
    theirs.code = code;
    assertEquals(instruction.cpuidFeatures(), theirs.cpuidFeatures());
  }
});

Deno.test("memory operands have the package's sizes", () => {
  for (const size of Object.values(iced.MemorySize)) {
    if (typeof size !== "number") continue;
    assertEquals(bytesOf(size), iced.MemorySizeExt.size(size));
  }
});

Deno.test("decoding takes no memory that it does not give back", () => {
  const prng = new Prng(1);
  const sample = randomSample(prng);
  for (let n = 0; n < 100; n++) decoded(sample);
  const { byteLength } = calls.memory.buffer;
  for (let n = 0; n < 20_000; n++) decoded(sample);
  assertEquals(calls.memory.buffer.byteLength, byteLength);
});

Deno.test("memory that grew is seen", () => {
  const sample = randomSample(new Prng(2));
  const before = decoded(sample);
  calls.memory.grow(1);
  assertEquals(decoded(sample), before);
});

Deno.test("misuse is told in the decoder's words", () => {
  assertThrows(() => decoderOf(48, 0), Error, "bitness");
});

Deno.test("more bytes than the decoder has room for are refused", () => {
  const bytes = new Uint8Array(33);
  assertThrows(
    () => decoderOf(64, 0).decode(bytes, 0, instruction),
    RangeError,
  );
});

Deno.test("a decoder that is not there is told", () => {
  const path = `${decoderPath()}.missing`;
  const error = assertThrows(() => readDecoder(path), Error);
  assertStringIncludes(error.message, "Cannot read the instruction decoder");
  assert(error.cause instanceof Deno.errors.NotFound);
});

Deno.test({
  name: "a decoder that may not be read is told, with what to allow",
  permissions: { read: false },
  fn: () => {
    assertThrows(readDecoder, Error, "--allow-read");
  },
});
