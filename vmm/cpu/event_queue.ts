// What comes between instructions: injected events, NMIs, external interrupts, in
// their order of priority (Intel SDM vol. 3, 6.9), and the delivery of events with
// the double and triple faults that it leads to (6.15, interrupt 8).

import type { Capabilities } from "./capabilities.ts";
import { type Combined, combineExceptions } from "./exceptions.ts";
import { shutdownExit } from "./exit_records.ts";
import { CpuError, EXIT_CODE, type VmExit } from "./exits.ts";
import { FLAG } from "./flags.ts";
import type { InterruptShadow } from "./interrupt_shadow.ts";
import { CAPABILITY, type CpuOptions, EVENT_KIND } from "./options.ts";
import type { EventState, PendingEvent } from "./save.ts";
import { NO_ERROR_CODE, STATUS, VECTOR } from "./runtime/traps.ts";
import {
  DELIVERED_ERROR,
  DELIVERED_VECTOR,
  DR,
  NMI_BLOCKED,
  RIP,
  SYSTEM_FLAGS,
  TRAP_ERROR,
  TRAP_VECTOR,
} from "./state.ts";
import type { StateWords } from "./state_words.ts";

/** DR7: general detect. */
const DR7_GD = 1 << 13;

/** What the queue works with. */
export interface EventParts {
  /** where the interrupt controller is, if there is one */
  readonly options: Pick<CpuOptions, "interrupts">;
  /** memory 0 */
  readonly words: StateWords;
  /** what holds events back after STI and MOV SS */
  readonly shadow: InterruptShadow;
  /** what exits instead of being delivered */
  readonly capabilities: Capabilities;
  /** delivers through the IDT: vector, error code, kind; 0 or a status of `TRAP` */
  readonly deliver: (vector: number, error: number, kind: number) => number;
  /** the exit behind a status other than a fault */
  readonly exitOf: (status: number) => VmExit;
}

/** The events that wait for one processor. */
export class EventQueue {
  readonly #parts: EventParts;
  readonly #words: StateWords;
  #nmi = false;
  #injected: PendingEvent | undefined;

  /** The event that was injected and is not delivered yet. */
  get injected(): PendingEvent | undefined {
    return this.#injected;
  }
  set injected(event: PendingEvent | undefined) {
    this.#injected = event;
  }

  constructor(parts: EventParts) {
    this.#parts = parts;
    this.#words = parts.words;
  }

  /** What waits here, for a saved state. */
  save(): Omit<EventState, "pendingDebug"> {
    return { nmi: this.#nmi, injected: this.#injected };
  }

  /** Sets what waits here. */
  restore(events: Omit<EventState, "pendingDebug">): void {
    this.#nmi = events.nmi;
    this.#injected = events.injected;
  }

  /** Forgets what waits here. */
  reset(): void {
    this.restore({ nmi: false, injected: undefined });
  }

  /** Queues an exception. @throws {CpuError} as `VirtualCpu.injectException` */
  injectException(vector: number, errorCode?: number): void {
    if (!(vector >= 0 && vector < 32) || vector === VECTOR.DF) {
      throw new CpuError(
        `Cannot inject exception ${vector}: expected 0 to 31 but not 8`,
      );
    }
    this.#inject({
      vector,
      kind: EVENT_KIND.EXCEPTION,
      error: errorCode ?? NO_ERROR_CODE,
    });
    // An injected exception ends the interrupt shadow.
    this.#parts.shadow.end();
  }

  /** Queues an external interrupt. @throws {CpuError} */
  injectInterrupt(vector: number): void {
    if (!(vector >= 0 && vector < 256)) {
      throw new CpuError(
        `Cannot inject interrupt ${vector}: expected 0 to 255`,
      );
    }
    this.#inject({ vector, kind: EVENT_KIND.INTERRUPT, error: NO_ERROR_CODE });
  }

  #inject(event: PendingEvent): void {
    if (this.#injected !== undefined) {
      throw new CpuError("Cannot inject an event: one is pending already");
    }
    this.#injected = event;
  }

  /** Latches a non-maskable interrupt. */
  injectNmi(): void {
    this.#nmi = true;
  }

  /** Whether an event waits until the guest lets it in. */
  get isAwaited(): boolean {
    return this.#nmi || (this.#parts.options.interrupts?.pending() ?? false);
  }

  /** Whether an event waits that the guest lets in. */
  get isDeliverable(): boolean {
    if (this.#injected !== undefined) return true;
    if (this.#nmi && this.#words.word(NMI_BLOCKED) === 0) return true;
    return this.#isOpen && (this.#parts.options.interrupts?.pending() ?? false);
  }

  // Whether external interrupts are let in.
  get #isOpen(): boolean {
    return (this.#words.word(SYSTEM_FLAGS) & FLAG.IF) !== 0 &&
      !this.#parts.capabilities.has(CAPABILITY.MASK_HWINTR);
  }

  /**
   * Delivers the first event that the guest lets in, if there is one.
   *
   * @param isWhole whether RIP is between instructions: between the parts of an
   *   instruction that exited nothing may come
   */
  next(isWhole: boolean): VmExit | undefined {
    const injected = this.#injected;
    if (injected !== undefined) {
      this.#injected = undefined;
      return this.#deliver(injected);
    }
    const { shadow } = this.#parts;
    if (shadow.isActive) return undefined;
    shadow.end();
    if (!isWhole) return undefined;
    if (this.#nmi && this.#words.word(NMI_BLOCKED) === 0) {
      return this.#deliverNmi();
    }
    return this.#nextInterrupt();
  }

  #deliverNmi(): VmExit | undefined {
    this.#nmi = false;
    const exit = this.#deliver({
      vector: VECTOR.NMI,
      error: NO_ERROR_CODE,
      kind: EVENT_KIND.NMI,
    });
    this.#words.setWord(NMI_BLOCKED, 1);
    return exit;
  }

  #nextInterrupt(): VmExit | undefined {
    const source = this.#parts.options.interrupts;
    if (!this.#isOpen || source === undefined || !source.pending()) {
      return undefined;
    }
    return this.#deliver({
      vector: source.acknowledge(),
      error: NO_ERROR_CODE,
      kind: EVENT_KIND.INTERRUPT,
    });
  }

  // Delivers an event and whatever exceptions that raises.
  #deliver(first: Combined): VmExit | undefined {
    const { vector, error, kind } = first;
    // DR7.GD is off in the handler, so that it can look (SDM vol. 3, 18.2.4).
    if (vector === VECTOR.DB && kind === EVENT_KIND.EXCEPTION) {
      this.#words.setWord(DR + 56, this.#words.word(DR + 56) & ~DR7_GD);
    }
    const status = this.#parts.deliver(vector, error, kind);
    if (status === 0) return undefined;
    if (status !== STATUS.FAULT) return this.#parts.exitOf(status);
    return this.#deliverWith(first);
  }

  // An event raised another while it was delivered.
  #deliverWith(first: Combined): VmExit | undefined {
    const combined = combineExceptions(first, this.#raised());
    if (combined === undefined) return shutdownExit(this.#words);
    return this.#deliver(combined);
  }

  #raised(): Combined {
    return {
      vector: this.#words.word(TRAP_VECTOR),
      error: this.#words.word(TRAP_ERROR),
      kind: EVENT_KIND.EXCEPTION,
    };
  }

  /** Delivers the exception that emitted code left in memory 0, or exits for it. */
  fault(): VmExit | undefined {
    const first = this.#words.word(DELIVERED_VECTOR);
    if (first !== 0) {
      this.#words.setWord(DELIVERED_VECTOR, 0);
      return this.#deliverWith({
        vector: first - 1,
        error: this.#words.word(DELIVERED_ERROR),
        kind: EVENT_KIND.EXCEPTION,
      });
    }
    const { vector, error } = this.#raised();
    return this.raise(vector, error);
  }

  /** Delivers an exception, or exits where the caller asked for that. */
  raise(vector: number, error: number): VmExit | undefined {
    const { capabilities } = this.#parts;
    const isWanted = (capabilities.exceptionExits >>> vector & 1) !== 0;
    if (vector === VECTOR.BP && capabilities.has(CAPABILITY.BPT_EXIT)) {
      return {
        code: EXIT_CODE.BPT,
        rip: this.#words.quad(RIP),
        length: 0,
        instLength: 1,
      };
    }
    if (isWanted) {
      return {
        code: EXIT_CODE.EXCEPTION,
        rip: this.#words.quad(RIP),
        length: 0,
        vector,
        errorCode: error === NO_ERROR_CODE ? undefined : error,
      };
    }
    return this.#deliver({ vector, error, kind: EVENT_KIND.EXCEPTION });
  }
}
