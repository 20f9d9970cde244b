// Text about cases: disassembly, initial state, differences, and the line that makes one again.

import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from "iced-x86";
import type { CpuCase, CpuOutcome } from "../native/native.ts";
import { type Difference, flagNames } from "./compare.ts";
import { FX } from "./fx_image.ts";
import type { FuzzCase } from "./generator.ts";

/** A snippet's instructions on one line. */
export function disassemble({ mode, code, codeBase }: CpuCase): string {
  const decoder = new Decoder(mode, code, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Nasm);
  decoder.ip = BigInt(codeBase);
  const lines: string[] = [];
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    lines.push(formatter.format(instruction));
    instruction.free();
  }
  formatter.free();
  decoder.free();
  return lines.join("; ");
}

/** The options that make the case again, with its code. */
export function reproduction(
  { index, form, test }: FuzzCase,
  seed: number,
): string {
  const name = form.name.replace("/", "\\/");
  return `--seed ${seed} --only ${index} --forms '^${name}$' # ${test.mode}-bit: ${
    disassemble(test)
  }`;
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(
    " ",
  );
}

function gprLines(gpr: BigUint64Array): string[] {
  const names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15"
    .split(" ");
  const fields = names.map((name, index) =>
    `${name.padStart(4)} ${gpr[index]!.toString(16).padStart(16, "0")}`
  );
  return [0, 4, 8, 12].map((at) => fields.slice(at, at + 4).join(" "));
}

function fxLines(fx: Uint8Array): string[] {
  const view = new DataView(fx.buffer, fx.byteOffset, fx.length);
  const word = (at: number) =>
    view.getUint16(at, true).toString(16).padStart(4, "0");
  const register = (at: number, size: number) =>
    hexBytes(fx.slice(at, at + size).reverse()).replaceAll(" ", "");
  const lines = [
    `fcw ${word(FX.control)} fsw ${word(FX.status)} ftw ${
      word(FX.tags)
    } mxcsr ${word(FX.mxcsr)}`,
  ];
  for (let index = 0; index < 8; index += 2) {
    lines.push(
      [index, index + 1].map((n) => `st${n} ${register(FX.st + n * 16, 10)}`)
        .join(" "),
    );
  }
  for (let index = 0; index < 16; index += 2) {
    lines.push(
      [index, index + 1].map((n) =>
        `xmm${n}`.padStart(5) + ` ${register(FX.xmm + n * 16, 16)}`
      )
        .join(" "),
    );
  }
  return lines;
}

function memoryLines(name: string, bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 32) {
    lines.push(
      `${name}+${at.toString(16).padStart(3, "0")} ${
        hexBytes(bytes.subarray(at, at + 32))
      }`,
    );
  }
  return lines;
}

/** The state that a case starts with, in full. */
export function describeCase({ test, instructions }: FuzzCase): string {
  return [
    `code ${hexBytes(test.code)} at ${test.codeBase.toString(16)}`,
    ...instructions.map(({ form, address }) =>
      `  ${address.toString(16)} ${form.name}`
    ),
    ...gprLines(test.gpr),
    `rflags ${test.rflags.toString(16)} ${flagNames(Number(test.rflags))}`,
    `fsbase ${test.fsBase.toString(16)} gsbase ${test.gsBase.toString(16)}`,
    ...fxLines(test.fx),
    `data at ${test.dataBase.toString(16)}`,
    ...memoryLines("data", test.data),
    ...memoryLines("stack", test.stack),
  ].join("\n");
}

/** What a case left behind, without memory. */
export function describeOutcome(outcome: CpuOutcome): string {
  const { vector, errorCode, cr2, rip, rflags } = outcome;
  return [
    `vector ${vector} error ${errorCode.toString(16)} cr2 ${
      cr2.toString(16)
    } rip ${rip.toString(16)}`,
    ...gprLines(outcome.gpr),
    `rflags ${rflags.toString(16)} ${flagNames(Number(rflags))}`,
    ...fxLines(outcome.fx),
  ].join("\n");
}

/** A mismatch: how to see it again, then a line per difference. */
export function describeMismatch(
  test: FuzzCase,
  seed: number,
  differences: readonly Difference[],
): string {
  const lines = differences.map(({ what, expected, actual }) =>
    `  ${what.padEnd(16)} expected ${expected}\n  ${
      "".padEnd(16)
    }   actual ${actual}`
  );
  return [reproduction(test, seed), ...lines].join("\n");
}
