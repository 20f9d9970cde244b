// vmm(4)'s capabilities of one processor, and what they and the caller's mask of
// exceptions tell emitted code to exit for.

import type { Cpuid } from "./cpuid.ts";
import { CpuError } from "./exits.ts";
import { CAPABILITY } from "./options.ts";
import { VECTOR } from "./runtime/traps.ts";
import { EXCEPTION_EXITS, EXIT_CONTROLS, EXIT_ON } from "./state.ts";
import type { StateWords } from "./state_words.ts";

const SETTABLE: ReadonlySet<number> = new Set([
  CAPABILITY.HALT_EXIT,
  CAPABILITY.MTRAP_EXIT,
  CAPABILITY.PAUSE_EXIT,
  CAPABILITY.BPT_EXIT,
  CAPABILITY.IPI_EXIT,
  CAPABILITY.MASK_HWINTR,
  CAPABILITY.RFLAGS_TF,
]);

/** The capabilities of one processor. */
export class Capabilities {
  readonly #words: StateWords;
  readonly #cpuid: Cpuid;
  readonly #values = new Map<number, number>();
  #exceptionExits = 0;

  constructor(words: StateWords, cpuid: Cpuid) {
    this.#words = words;
    this.#cpuid = cpuid;
  }

  /** The value of a capability. @throws {CpuError} for an unknown one */
  get(capability: number): number {
    if (capability < 0 || capability > CAPABILITY.RFLAGS_TF) {
      throw new CpuError(`No capability ${capability}: expected 0 to 10`);
    }
    switch (capability) {
      case CAPABILITY.UNRESTRICTED_GUEST:
      case CAPABILITY.ENABLE_INVPCID:
        return 1;
      case CAPABILITY.RDPID:
        return this.#cpuid.has("rdpid") ? 1 : 0;
      case CAPABILITY.RDTSCP:
        return this.#cpuid.has("rdtscp") ? 1 : 0;
      default:
        return this.#values.get(capability) ?? 0;
    }
  }

  /** Sets a capability. @throws {CpuError} for one that cannot be set */
  set(capability: number, value: number): void {
    if (!SETTABLE.has(capability)) {
      if (this.get(capability) === value) return;
      throw new CpuError(
        `Cannot set capability ${capability} to ${value}: it is fixed`,
      );
    }
    this.#values.set(capability, value);
    this.#setControl(EXIT_ON.PAUSE, this.has(CAPABILITY.PAUSE_EXIT));
    this.#updateExceptionExits();
  }

  /** Whether CPUID exits. */
  set cpuidExits(on: boolean) {
    this.#setControl(EXIT_ON.CPUID, on);
  }

  #setControl(bit: number, on: boolean): void {
    const others = this.#words.word(EXIT_CONTROLS) & ~bit;
    this.#words.setWord(EXIT_CONTROLS, on ? others | bit : others);
  }

  /** Whether a capability that can be set is on. */
  has(capability: number): boolean {
    return (this.#values.get(capability) ?? 0) !== 0;
  }

  /** Exceptions (bit n: vector n) that exit instead of being delivered. */
  get exceptionExits(): number {
    return this.#exceptionExits;
  }
  set exceptionExits(mask: number) {
    this.#exceptionExits = mask >>> 0;
    this.#updateExceptionExits();
  }

  // INT3 and INTO look at this, since they deliver their exception themselves.
  #updateExceptionExits(): void {
    const bpt = this.has(CAPABILITY.BPT_EXIT) ? 1 << VECTOR.BP : 0;
    this.#words.setWord(EXCEPTION_EXITS, this.#exceptionExits | bpt);
  }
}
