// The vectors of a local APIC: requested (IRR), in service (ISR), level-triggered
// (TMR), and the priorities that decide which is taken next (Intel SDM vol. 3, 11.8.3
// and 11.8.4). Nothing here allocates.

import { APIC, hasVector, highestVector, setVector } from "./apic_registers.ts";

/** The vectors of one local APIC, kept in its registers. */
export class VectorUnit {
  readonly #registers: Uint32Array;
  readonly #isr: Uint32Array;
  readonly #tmr: Uint32Array;
  readonly #irr: Uint32Array;
  readonly #attend: () => void;
  #candidate = -1;

  /**
   * @param registers the APIC's registers by number
   * @param attend called when there is another vector to take
   */
  constructor(registers: Uint32Array, attend: () => void) {
    this.#registers = registers;
    this.#isr = registers.subarray(APIC.ISR, APIC.ISR + 8);
    this.#tmr = registers.subarray(APIC.TMR, APIC.TMR + 8);
    this.#irr = registers.subarray(APIC.IRR, APIC.IRR + 8);
    this.#attend = attend;
  }

  /** The vector that the processor would take now, or -1. */
  get candidate(): number {
    return this.#candidate;
  }

  /** Whether no vector is in service. */
  get isIdle(): boolean {
    return highestVector(this.#isr) < 0;
  }

  /** Requests a vector. */
  request(vector: number, isLevel: boolean): void {
    setVector(this.#irr, vector, true);
    setVector(this.#tmr, vector, isLevel);
    this.update();
  }

  /** Puts the candidate into service; -1 where there is none. */
  acknowledge(): number {
    const vector = this.#candidate;
    if (vector < 0) return -1;
    setVector(this.#irr, vector, false);
    setVector(this.#isr, vector, true);
    this.update();
    return vector;
  }

  /** Ends the highest vector in service; gives it where it is a level, or -1. */
  end(): number {
    const vector = highestVector(this.#isr);
    if (vector < 0) return -1;
    setVector(this.#isr, vector, false);
    this.update();
    return hasVector(this.#tmr, vector) ? vector : -1;
  }

  /** Computes PPR and the candidate after the registers were changed. */
  update(): void {
    const tpr = this.#registers[APIC.TPR]!;
    const inService = Math.max(0, highestVector(this.#isr)) & 0xf0;
    const ppr = inService > (tpr & 0xf0) ? inService : tpr;
    this.#registers[APIC.PPR] = ppr;
    const best = highestVector(this.#irr);
    const candidate = best >> 4 > ppr >> 4 ? best : -1;
    if (candidate === this.#candidate) return;
    this.#candidate = candidate;
    if (candidate >= 0) this.#attend();
  }
}
