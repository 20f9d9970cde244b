// What decoding costs: every instruction of a long run of distinct code, decoded
// by iced-x86 and made into records, without executing it.

import { Cpuid } from "../../vmm/cpu/cpuid.ts";
import { InstructionSet } from "../../vmm/cpu/instruction_set.ts";
import { BlockCache } from "../../vmm/cpu/block_cache.ts";
import type { Definition } from "../../vmm/cpu/form.ts";
import { MODE } from "../../vmm/cpu/mode.ts";
import { STATE_PAGES } from "../../vmm/cpu/state.ts";

const KEY = 2 | MODE.STACK32 | MODE.FLAT | MODE.PROTECTED | MODE.OSFXSR;

/**
 * Nanoseconds an instruction, the best of `runs` passes over `code`.
 *
 * @param code 64-bit machine code, a multiple of 4096 bytes
 */
export function measureDecode(code: Uint8Array, runs: number): number {
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
  let best = Infinity;
  for (let run = 0; run < runs; run++) {
    const cache = new BlockCache({
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
      protect: () => {},
      nextPage: () => undefined,
      threshold: () => 0,
      dropped: () => {},
    });
    const start = performance.now();
    for (let at = 0; at < code.length && !cache.isFull;) {
      const block = cache.decode(at, KEY, Infinity);
      at = block === undefined
        ? (Math.floor(at / 4096) + 1) * 4096
        : at + block.bytes;
    }
    const ns = (performance.now() - start) * 1e6 / cache.instructions;
    best = Math.min(best, ns);
  }
  return best;
}
