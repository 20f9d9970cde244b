// What decoding costs: every instruction of a long run of distinct code, decoded
// by iced-x86 and made into records, without executing it.

import { Cpuid } from "../../vmm/cpu/cpuid.ts";
import { InstructionSet } from "../../vmm/cpu/instruction_set.ts";
import { BlockCache, type CodeSource } from "../../vmm/cpu/block_cache.ts";
import type { Definition } from "../../vmm/cpu/form.ts";
import { MODE } from "../../vmm/cpu/mode.ts";
import { STATE_PAGES } from "../../vmm/cpu/state.ts";

const KEY = 2 | MODE.STACK32 | MODE.FLAT | MODE.PROTECTED | MODE.OSFXSR;

/** Bytes that are measured at once: a time so short that mostly nothing intervenes. */
const CHUNK = 32768;

/**
 * Nanoseconds an instruction: each part of `code` in the best of `runs` passes, of
 * which each begins with an empty cache.
 *
 * @param code 64-bit machine code, a multiple of 32 KiB
 */
export function measureDecode(code: Uint8Array, runs: number): number {
  const source = sourceOf(code);
  const best: number[] = Array(code.length / CHUNK).fill(Infinity);
  let instructions = 0;
  for (let run = 0; run < runs; run++) {
    const cache = new BlockCache(source);
    for (let n = 0; n < best.length && !cache.isFull; n++) {
      const start = performance.now();
      decode(cache, n * CHUNK, (n + 1) * CHUNK);
      best[n] = Math.min(best[n]!, performance.now() - start);
    }
    instructions = cache.instructions;
  }
  const total = best.filter(Number.isFinite).reduce((sum, ms) => sum + ms, 0);
  return total * 1e6 / instructions;
}

function sourceOf(code: Uint8Array): CodeSource {
  const cpuid = new Cpuid({
    vendor: "amd",
    vcpu: 0,
    sockets: 1,
    cores: 1,
    threads: 1,
    x2apic: false,
  });
  const instructions = new InstructionSet(cpuid);
  const handlers = new Map<Definition, number>();
  const state = new DataView(new ArrayBuffer(STATE_PAGES * 65536));
  return {
    memory: code,
    state,
    words: new Int32Array(state.buffer),
    decoderOptions: 0,
    handler: (definition) => {
      const known = handlers.get(definition);
      if (known !== undefined) return known;
      handlers.set(definition, handlers.size);
      return handlers.size - 1;
    },
    supports: (c) => instructions.supports(c),
    nextPage: () => undefined,
    threshold: () => 0,
    fused: () => undefined,
    dropped: () => {},
  };
}

function decode(cache: BlockCache, from: number, to: number): void {
  for (let at = from; at < to && !cache.isFull;) {
    const block = cache.decode(at, KEY, Infinity);
    at = block === undefined
      ? (Math.floor(at / 4096) + 1) * 4096
      : at + block.bytes;
  }
}
