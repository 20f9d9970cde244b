// Debugging of a guest by itself or by the caller (Intel SDM vol. 3, 18.2 and 18.3):
// instruction, data and I/O breakpoints, single steps, the monitor trap. Data
// breakpoints are found by emitted code, which leaves them in WATCH_HITS.

import type { Capabilities } from "./capabilities.ts";
import type { EventQueue } from "./event_queue.ts";
import { plainExit } from "./exit_records.ts";
import { EXIT_CODE, type VmExit } from "./exits.ts";
import { FLAG } from "./flags.ts";
import type { InterruptShadow } from "./interrupt_shadow.ts";
import { CAPABILITY } from "./options.ts";
import { NO_ERROR_CODE, VECTOR } from "./runtime/traps.ts";
import { CR4_DE } from "./runtime/control_bits.ts";
import {
  CR4,
  CS,
  DR,
  RIP,
  SEG_BASE,
  SYSTEM_FLAGS,
  TRACE_AFTER,
  WATCH_HITS,
} from "./state.ts";
import type { StateWords } from "./state_words.ts";

/** DR6: single step. */
const DR6_BS = 1 << 14;
/** DR7: the enable bits, local and global, of the four breakpoints. */
const DR7_ENABLES = 0xff;
/** R/W fields of DR7: what a breakpoint stops at. */
const ON_EXECUTE = 0;
const ON_PORT = 2;

function isOn(dr7: number, n: number): boolean {
  return (dr7 >> (2 * n) & 3) !== 0;
}

// R/W (bits 1:0) and LEN (bits 3:2) of a breakpoint.
function controlOf(dr7: number, n: number): number {
  return dr7 >> (16 + 4 * n) & 15;
}

/** Notes the I/O breakpoints that an access hits: R/W 10, with CR4.DE. */
export function watchPort(
  words: StateWords,
  port: number,
  bytes: number,
): void {
  const dr7 = words.word(DR + 56);
  if ((dr7 & DR7_ENABLES) === 0 || (words.word(CR4) & CR4_DE) === 0) return;
  for (let n = 0; n < 4; n++) {
    const control = controlOf(dr7, n);
    if (!isOn(dr7, n) || (control & 3) !== ON_PORT) continue;
    const length = (control >> 2) + 1;
    const first = words.word(DR + 8 * n) & ~(length - 1);
    if (port < first + length && first < port + bytes) {
      words.setWord(WATCH_HITS, words.word(WATCH_HITS) | 1 << n);
    }
  }
}

// The breakpoints at the instruction at RIP, as DR6 bits.
function breakpointsAtRip(words: StateWords, dr7: number): number {
  const linear = words.quad(RIP) + words.quad(CS + SEG_BASE);
  let hits = 0;
  for (let n = 0; n < 4; n++) {
    const isExecute = (controlOf(dr7, n) & 3) === ON_EXECUTE;
    if (isExecute && isOn(dr7, n) && words.quad(DR + 8 * n) === linear) {
      hits |= 1 << n;
    }
  }
  return hits;
}

/** What the logic works with. */
export interface SteppingParts {
  /** memory 0 */
  readonly words: StateWords;
  /** what holds debug exceptions back after MOV SS */
  readonly shadow: InterruptShadow;
  /** what exits instead of being delivered */
  readonly capabilities: Capabilities;
  /** delivers #DB */
  readonly events: Pick<EventQueue, "raise">;
}

/** What came before an instruction that is executed alone. */
export interface BeforeStep {
  /** the low word of RFLAGS, without arithmetic flags, before it */
  readonly flags: number;
  /** what exits instead of the instruction */
  readonly exit?: VmExit;
  /** whether #DB was delivered instead of the instruction */
  readonly delivered?: boolean;
}

/** What happens around instructions that are executed one by one. */
export class Stepping {
  readonly #parts: SteppingParts;
  readonly #words: StateWords;

  /** Debug exceptions held back by MOV SS, as DR6 bits. */
  pendingDebug = 0;

  constructor(parts: SteppingParts) {
    this.#parts = parts;
    this.#words = parts.words;
  }

  /** Before one instruction: instruction breakpoints. */
  before(): BeforeStep {
    const words = this.#words;
    const flags = words.word(SYSTEM_FLAGS);
    words.setWord(WATCH_HITS, 0);
    const dr7 = words.word(DR + 56);
    if ((dr7 & DR7_ENABLES) === 0 || (flags & FLAG.RF) !== 0) return { flags };
    const hits = breakpointsAtRip(words, dr7);
    if (hits === 0) return { flags };
    // The handler's IRET sets RF, lest it stop at the same place again.
    words.setWord(SYSTEM_FLAGS, flags | FLAG.RF);
    const exit = this.#raise(hits);
    if (exit === undefined) return { flags, delivered: true };
    words.setWord(SYSTEM_FLAGS, flags);
    return { flags, exit };
  }

  /** After one instruction: trace trap, data breakpoints, monitor trap. */
  after(before: number): VmExit | undefined {
    const words = this.#words;
    if ((before & FLAG.RF) !== 0) {
      words.setWord(SYSTEM_FLAGS, words.word(SYSTEM_FLAGS) & ~FLAG.RF);
    }
    // INT n, SYSCALL and SYSRET trap by the TF that they leave.
    const tracing = words.word(TRACE_AFTER) !== 0
      ? words.word(SYSTEM_FLAGS)
      : before;
    const trace = (tracing & FLAG.TF) !== 0 ? DR6_BS : 0;
    const hits = words.word(WATCH_HITS) | this.pendingDebug | trace;
    this.pendingDebug = 0;
    return this.#trap(hits) ?? this.monitorTrap();
  }

  #trap(hits: number): VmExit | undefined {
    if (hits === 0) return undefined;
    // MOV SS holds debug exceptions back until after the next instruction.
    if (this.#parts.shadow.isOfStack) {
      this.pendingDebug = hits & ~DR6_BS;
      return undefined;
    }
    return this.#raise(hits);
  }

  /** The monitor trap comes after an instruction or the delivery of its fault. */
  monitorTrap(): VmExit | undefined {
    return this.#parts.capabilities.has(CAPABILITY.MTRAP_EXIT)
      ? plainExit(this.#words, EXIT_CODE.MTRAP)
      : undefined;
  }

  // Raises #DB with its causes as DR6 bits.
  #raise(causes: number): VmExit | undefined {
    const words = this.#words;
    const dr6 = words.quad(DR + 48) & ~0xfn | BigInt(causes);
    if (this.#parts.capabilities.has(CAPABILITY.RFLAGS_TF)) {
      return {
        code: EXIT_CODE.DB,
        rip: words.quad(RIP),
        length: 0,
        traceTrap: (causes & DR6_BS) !== 0,
        dr6,
      };
    }
    words.setQuad(DR + 48, dr6);
    return this.#parts.events.raise(VECTOR.DB, NO_ERROR_CODE);
  }
}
