// What other threads post to a processor's local APIC, and what they see of it: words in
// shared memory. Vectors are bits, as in the posted-interrupt descriptor of Intel SDM
// vol. 3, 30.6; INIT, STARTUP, NMI, ExtINT and local interrupts are flags beside them.

import {
  type ApicTarget,
  DELIVERY,
  matchesLogical,
  matchesWide,
  MESSAGE,
} from "./apic_bus.ts";
import {
  APIC,
  APIC_REGISTERS,
  LOCAL_INTERRUPTS,
  SVR_ENABLED,
} from "./apic_registers.ts";
import { APIC_MODE } from "./apic_window.ts";

const VECTOR_WORDS = 8;
// The APIC's registers and mode, which only its own thread writes.
const REGISTERS = 0;
const MODE = REGISTERS + APIC_REGISTERS;
const PENDING = MODE + 16;
const FLAGS = PENDING;
const STARTUP_VECTOR = PENDING + 1;
const REQUESTED = PENDING + 16;
const LEVELS = REQUESTED + VECTOR_WORDS;
/** Words that one local APIC needs. */
export const POSTED_WORDS: number = LEVELS + VECTOR_WORDS;

const FLAG = {
  VECTORS: 1,
  NMI: 2,
  EXTINT: 4,
  INIT: 8,
  STARTUP: 16,
} as const;
const LOCAL_SHIFT = 8;

/** The local APIC that takes what was posted. */
export interface PostedReceiver {
  accept(message: number): void;
  localInterrupt(source: number): void;
}

/** One local APIC's words. */
export class PostedInterrupts {
  readonly #words: Int32Array;
  /** its registers by number */
  readonly registers: Uint32Array;
  /** its mode, of `APIC_MODE`, in element 0 */
  readonly mode: Uint32Array;

  /** @param words `POSTED_WORDS` of them, zero at first */
  constructor(words: Int32Array) {
    this.#words = words;
    const { buffer, byteOffset } = words;
    const part = (word: number, count: number) =>
      new Uint32Array(buffer, byteOffset + 4 * word, count);
    this.registers = part(REGISTERS, APIC_REGISTERS);
    this.mode = part(MODE, 1);
  }

  // --- Posting -------------------------------------------------------------

  /** Posts a message; the processor must then be called. */
  post(message: number): void {
    const vector = message & MESSAGE.VECTOR;
    switch (message >>> MESSAGE.MODE_SHIFT & 7) {
      case DELIVERY.FIXED:
      case DELIVERY.LOWEST_PRIORITY:
        return this.#postVector(vector, (message & MESSAGE.LEVEL) !== 0);
      case DELIVERY.NMI:
        return this.#flag(FLAG.NMI);
      case DELIVERY.EXTINT:
        return this.#flag(FLAG.EXTINT);
      case DELIVERY.INIT:
        // A STARTUP before an INIT is of no use any more.
        Atomics.and(this.#words, FLAGS, ~FLAG.STARTUP);
        return this.#flag(FLAG.INIT);
      case DELIVERY.STARTUP:
        Atomics.store(this.#words, STARTUP_VECTOR, vector);
        return this.#flag(FLAG.STARTUP);
    }
  }

  /** Posts a local interrupt by its index in `LOCAL_INTERRUPTS`. */
  postLocal(source: number): void {
    if (LOCAL_INTERRUPTS[source] === undefined) return;
    this.#flag(1 << LOCAL_SHIFT + source);
  }

  #flag(bits: number): void {
    Atomics.or(this.#words, FLAGS, bits);
  }

  #postVector(vector: number, isLevel: boolean): void {
    const at = vector >> 5;
    const bit = 1 << (vector & 31);
    if (isLevel) Atomics.or(this.#words, LEVELS + at, bit);
    else Atomics.and(this.#words, LEVELS + at, ~bit);
    Atomics.or(this.#words, REQUESTED + at, bit);
    this.#flag(FLAG.VECTORS);
  }

  // --- Taking --------------------------------------------------------------

  /** Whether anything was posted. */
  get isPending(): boolean {
    return Atomics.load(this.#words, FLAGS) !== 0;
  }

  /** Hands what was posted to the APIC; answers how many interrupts it was. */
  deliver(apic: PostedReceiver): number {
    if (!this.isPending) return 0;
    const flags = Atomics.exchange(this.#words, FLAGS, 0);
    let count = 0;
    const accept = (mode: number, vector = 0) => {
      count++;
      apic.accept(mode << MESSAGE.MODE_SHIFT | vector);
    };
    if ((flags & FLAG.VECTORS) !== 0) count += this.#deliverVectors(apic);
    if ((flags & FLAG.NMI) !== 0) accept(DELIVERY.NMI);
    if ((flags & FLAG.EXTINT) !== 0) accept(DELIVERY.EXTINT);
    LOCAL_INTERRUPTS.forEach((_, source) => {
      if ((flags & 1 << LOCAL_SHIFT + source) !== 0) {
        apic.localInterrupt(source);
      }
    });
    if ((flags & FLAG.INIT) !== 0) accept(DELIVERY.INIT);
    if ((flags & FLAG.STARTUP) !== 0) {
      accept(DELIVERY.STARTUP, Atomics.load(this.#words, STARTUP_VECTOR));
    }
    return count;
  }

  #deliverVectors(apic: PostedReceiver): number {
    let count = 0;
    for (let at = 0; at < VECTOR_WORDS; at++) {
      let bits = Atomics.exchange(this.#words, REQUESTED + at, 0);
      const levels = Atomics.load(this.#words, LEVELS + at);
      while (bits !== 0) {
        const n = 31 - Math.clz32(bits);
        bits &= ~(1 << n);
        const level = (levels >>> n & 1) !== 0 ? MESSAGE.LEVEL : 0;
        apic.accept(level | at << 5 | n);
        count++;
      }
    }
    return count;
  }
}

/** A local APIC of another thread, as the bus in this one sees it. */
export class RemoteApic implements ApicTarget {
  readonly #posted: PostedInterrupts;
  readonly #kick: () => void;

  /**
   * @param id its APIC ID
   * @param kick calls its processor
   */
  constructor(
    readonly id: number,
    posted: PostedInterrupts,
    kick: () => void,
  ) {
    this.#posted = posted;
    this.#kick = kick;
  }

  get priority(): number {
    const { registers, mode } = this.#posted;
    const isEnabled = mode[0] !== APIC_MODE.OFF &&
      (registers[APIC.SVR]! & SVR_ENABLED) !== 0;
    return isEnabled ? registers[APIC.PPR]! : 0x100;
  }

  matches(destination: number, isLogical: boolean): boolean {
    const { registers, mode } = this.#posted;
    if (mode[0] === APIC_MODE.OFF) return false;
    if (!isLogical) return destination === this.id;
    const ldr = registers[APIC.LDR]!;
    return mode[0] === APIC_MODE.X2APIC
      ? matchesWide(ldr, destination)
      : matchesLogical(ldr, registers[APIC.DFR]!, destination);
  }

  accept(message: number): void {
    this.#posted.post(message);
    this.#kick();
  }

  /** A local interrupt by its index: `vm_lapic_local_irq`. */
  localInterrupt(source: number): void {
    this.#posted.postLocal(source);
    this.#kick();
  }
}
