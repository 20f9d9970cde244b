// What a processor does between two runs of emitted code: events, single steps,
// limits, and what each status of the engine leads to. It runs once in every 20,000
// instructions or at every event, so that its cost counts in exits and interrupts.

import type { Capabilities } from "./capabilities.ts";
import { type Engine, FETCH_FROM_DEVICE } from "./engine.ts";
import type { EventQueue } from "./event_queue.ts";
import { fetchExit, plainExit } from "./exit_records.ts";
import { EXIT_CODE, type VmExit } from "./exits.ts";
import { FLAG } from "./flags.ts";
import type { HostCalls } from "./host_calls.ts";
import type { InterruptShadow } from "./interrupt_shadow.ts";
import { MODE } from "./mode.ts";
import { CAPABILITY, type CpuOptions } from "./options.ts";
import { STATUS } from "./runtime/traps.ts";
import {
  ACCESS,
  ATTENTION,
  BUDGET,
  CPL,
  CR0,
  FORCE_STEP,
  KICK,
  MODE_KEY,
  PAUSES,
  SEG_ACCESS,
  SS,
  SYSTEM_FLAGS,
  TRACE_AFTER,
} from "./state.ts";
import type { StateWords } from "./state_words.ts";
import type { Stepping } from "./stepping.ts";

/** Instructions between two looks at what other threads want. */
const SLICE = 20_000;
/**
 * Below this many instructions left, a limit is kept by single steps: twice what may
 * run before the budget is looked at, which is a path through a region.
 */
const EXACT_BELOW = 1024;
/** PAUSE instructions in a slice from which on it is a wait: loops have up to ten more. */
const PAUSES_OF_WAIT = 1500;

/** What the loop works with. */
export interface LoopParts {
  /** what is called between blocks */
  readonly options: Pick<CpuOptions, "poll" | "waited">;
  /** what runs emitted code */
  readonly engine: Pick<Engine, "advance" | "runtime">;
  /** memory 0 */
  readonly words: StateWords;
  /** exits and the replies to them */
  readonly host: HostCalls;
  /** the interrupt shadow */
  readonly shadow: InterruptShadow;
  /** vmm(4)'s capabilities */
  readonly capabilities: Capabilities;
  /** what comes between instructions */
  readonly events: EventQueue;
  /** what comes around instructions that are executed alone */
  readonly stepping: Stepping;
}

/** The loop of one processor. */
export class RunLoop {
  readonly #options: Pick<CpuOptions, "poll" | "waited">;
  readonly #engine: Pick<Engine, "advance" | "runtime">;
  readonly #words: StateWords;
  readonly #host: HostCalls;
  readonly #shadow: InterruptShadow;
  readonly #capabilities: Capabilities;
  readonly #events: EventQueue;
  readonly #stepping: Stepping;
  #stop = false;

  /** Whether registers were set from outside: then `sync` has work to do. */
  isDirty = true;

  constructor(parts: LoopParts) {
    this.#options = parts.options;
    this.#engine = parts.engine;
    this.#words = parts.words;
    this.#host = parts.host;
    this.#shadow = parts.shadow;
    this.#capabilities = parts.capabilities;
    this.#events = parts.events;
    this.#stepping = parts.stepping;
  }

  /** Makes emitted code come back here soon. */
  attend(): void {
    this.#words.setWord(ATTENTION, 1);
    this.#words.setWord(KICK, -1);
  }

  /** Makes `run` answer REQIDLE soon, once. */
  requestStop(): void {
    this.#stop = true;
    this.attend();
  }

  /** Derives what depends on registers that were set from outside. */
  sync(): void {
    if (!this.isDirty) return;
    this.isDirty = false;
    const words = this.#words;
    const isProtected = (words.word(CR0) & 1) !== 0;
    const vm86 = isProtected && (words.word(SYSTEM_FLAGS) & FLAG.VM) !== 0;
    const dpl = (words.word(SS + SEG_ACCESS) >> ACCESS.DPL_SHIFT) & 3;
    words.setWord(CPL, vm86 ? 3 : isProtected ? dpl : 0);
    this.#runtime("flushAll");
    this.#runtime("dropJumps");
    this.#runtime("updateMode");
  }

  #runtime(name: "flushAll" | "dropJumps" | "updateMode"): void {
    (this.#engine.runtime[name] as () => void)();
  }

  /** Runs until an exit, or with BOGUS after `limit` instructions. */
  run(limit: number): VmExit {
    let left = limit;
    for (let isFirst = true;; isFirst = false) {
      if (this.#stop) {
        this.#stop = false;
        return plainExit(this.#words, EXIT_CODE.REQIDLE);
      }
      if (left <= 0) return plainExit(this.#words, EXIT_CODE.BOGUS);
      // First, so that what other threads post from now on is looked at again.
      const wasKicked = this.#words.exchangeWord(KICK, 0) !== 0;
      this.#options.poll?.(wasKicked || isFirst);
      this.sync();
      const event = this.#events.next(!this.#host.hasReplies);
      if (event !== undefined) return event;
      const isStep = this.#chooseStep(left);
      const before = isStep ? this.#stepping.before() : undefined;
      if (before?.exit !== undefined) return before.exit;
      if (before?.delivered) {
        left--;
        continue;
      }
      const budget = isStep ? 0 : Math.min(left - EXACT_BELOW / 2, SLICE);
      const status = this.#advance(budget);
      const spent = budget - this.#words.word(BUDGET);
      left -= Math.max(spent, 1);
      const exit = this.#handle(status, before?.flags ?? 0, isStep);
      if (exit !== undefined) return exit;
    }
  }

  // Whether the next instruction is executed alone, for the guest or for us.
  #chooseStep(left: number): boolean {
    const isForced = left < EXACT_BELOW || this.#host.hasReplies ||
      this.#shadow.isActive || this.#capabilities.has(CAPABILITY.MTRAP_EXIT);
    const value = isForced ? 1 : 0;
    if (this.#words.word(FORCE_STEP) !== value) {
      this.#words.setWord(FORCE_STEP, value);
      this.#runtime("updateMode");
    }
    return (this.#words.word(MODE_KEY) & MODE.STEP) !== 0;
  }

  #advance(budget: number): number {
    const words = this.#words;
    // What ends a block only where an event waits for it looks at this: STI, IRET.
    words.setWord(ATTENTION, this.#events.isAwaited ? 1 : 0);
    words.setWord(TRACE_AFTER, 0);
    words.setWord(PAUSES, PAUSES_OF_WAIT);
    this.#host.rewind();
    const shadow = this.#shadow.enter();
    const status = this.#engine.advance(budget);
    // An instruction that exited is still to come, and in the shadow.
    if (shadow !== 0 && status === STATUS.EXIT) this.#shadow.restore(shadow);
    return status;
  }

  #handle(status: number, flags: number, isStep: boolean): VmExit | undefined {
    switch (status) {
      case STATUS.EVENTS:
        this.#host.dropReplies();
        if (this.#words.word(PAUSES) < 0) this.#options.waited?.();
        return isStep ? this.#stepping.after(flags) : undefined;
      case STATUS.FAULT:
        this.#host.dropReplies();
        return this.#events.fault() ?? this.#stepping.monitorTrap();
      case FETCH_FROM_DEVICE:
        return fetchExit(this.#words);
      default:
        return this.#host.exitOf(status);
    }
  }
}
