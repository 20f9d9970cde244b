// What all threads of a running machine share in words: which vCPUs are active, stopped
// or held, why the machine ends, and a place for each vCPU where others leave what it
// must look at. Everything here is an atomic; nothing waits.

import { SUSPEND } from "../vmm/cpu/exits.ts";
import { VmmError } from "../vmm/errno.ts";
import { MAX_VCPUS } from "../vmm/ioctl.ts";
import { HPET_COUNTER_WORDS } from "../vmm/platform/hpet_counter.ts";
import type { SharedTimes } from "../vmm/platform/interrupts.ts";
import { POSTED_WORDS } from "../vmm/platform/posted_interrupts.ts";
import type { SharedTarget } from "../vmm/vm_target.ts";
import { CALL_WORDS } from "./device_calls.ts";
import { POSTED_WRITE_WORDS } from "./posted_writes.ts";
import { GATE_WORDS } from "./vcpu_gate.ts";

// Words of the machine. Sets are bits by vCPU.
const HOW = 0;
const ACTIVE = 1;
const SUSPENDED = 2;
const DEBUG = 3;
const STARTED = 4;
const HALTED = 5;
const FLAGS = 6;
const CALLERS = 7;
const WRITERS = 17;
const ENDS = 8;
/** Numbers of 64 bits by which timers are read. */
const TIMES = 18;
const MACHINE_WORDS = 32;
/** Interrupts that ended, for the I/O APIC: bits by vector. */
const END_WORDS = 8;

/** Bits that tell about the machine. */
export const MACHINE_FLAG = {
  /** the 8259s' INTR output is up */
  INTR: 1,
  /** the guest listens to the power button */
  ACPI: 2,
  /** the power button was pressed */
  POWER_BUTTON: 4,
  /** vCPUs may run */
  GO: 8,
} as const;

const CALLS_END = roundUp(GATE_WORDS + CALL_WORDS);
const INTERRUPTS_END = CALLS_END + roundUp(POSTED_WORDS);
const VCPU_WORDS = INTERRUPTS_END + roundUp(POSTED_WRITE_WORDS);

// To whole lines, lest two threads fight for one.
function roundUp(words: number): number {
  return Math.ceil(words / 16) * 16;
}

function members(set: number): number[] {
  return Array.from({ length: MAX_VCPUS }, (_, n) => n)
    .filter((n) => (set >>> n & 1) !== 0);
}

/** The words of one machine, as one of its threads sees them. */
export class Board implements SharedTarget {
  readonly #words: Int32Array;
  readonly #kick: (vcpu: number) => void;

  /**
   * @param buffer what `create` made
   * @param kick calls a vCPU, so that it looks at the words
   */
  constructor(
    readonly buffer: SharedArrayBuffer,
    kick: (vcpu: number) => void = () => {},
  ) {
    this.#words = new Int32Array(buffer);
    this.#kick = kick;
  }

  /** Makes the words of a machine in which vCPU 0 alone starts. */
  static create(vcpus: number): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(
      4 * (MACHINE_WORDS + MAX_VCPUS * VCPU_WORDS),
    );
    const words = new Int32Array(buffer);
    words[ACTIVE] = 2 ** vcpus - 1;
    words[STARTED] = 1;
    return buffer;
  }

  // --- Places of vCPUs -----------------------------------------------------

  #part(vcpu: number, from: number, count: number): Int32Array {
    const start = MACHINE_WORDS + vcpu * VCPU_WORDS + from;
    return this.#words.subarray(start, start + count);
  }

  /** Words of a vCPU's gate. */
  gateWords(vcpu: number): Int32Array {
    return this.#part(vcpu, 0, GATE_WORDS);
  }

  /** Words of a vCPU's calls to devices. */
  callWords(vcpu: number): Int32Array {
    return this.#part(vcpu, GATE_WORDS, CALL_WORDS);
  }

  /** Words of what is posted to a vCPU's local APIC. */
  postedWords(vcpu: number): Int32Array {
    return this.#part(vcpu, CALLS_END, POSTED_WORDS);
  }

  /** Words of a vCPU's posted writes. */
  writeWords(vcpu: number): Int32Array {
    return this.#part(vcpu, INTERRUPTS_END, POSTED_WRITE_WORDS);
  }

  /** Numbers by which every thread reads the machine's timers. */
  get times(): SharedTimes {
    const part = (at: number, count: number) =>
      new Float64Array(this.buffer, 4 * TIMES + 8 * at, count);
    return {
      hpet: part(0, HPET_COUNTER_WORDS),
      pmTimer: part(HPET_COUNTER_WORDS, 1),
    };
  }

  // --- Sets ----------------------------------------------------------------

  #load(word: number): number {
    return Atomics.load(this.#words, word);
  }

  // Puts a vCPU into a set or takes it out; answers the set as it was.
  #change(word: number, vcpu: number, isIn: boolean): number {
    return isIn
      ? Atomics.or(this.#words, word, 1 << vcpu)
      : Atomics.and(this.#words, word, ~(1 << vcpu));
  }

  /** Why the machine ends, of `SUSPEND`; NONE while it does not. */
  get how(): number {
    return this.#load(HOW);
  }

  suspend(how: number): void {
    const old = Atomics.compareExchange(this.#words, HOW, SUSPEND.NONE, how);
    if (old !== SUSPEND.NONE) throw new VmmError("EALREADY");
    for (const vcpu of this.active) this.#kick(vcpu);
  }

  /** Suspends the machine unless it is: the first reason counts. */
  suspendOnce(how: number): void {
    if (this.how === SUSPEND.NONE) {
      try {
        this.suspend(how);
      } catch (error) {
        if (!(error instanceof VmmError)) throw error;
      }
    }
  }

  activate(vcpu: number): void {
    if ((this.#change(ACTIVE, vcpu, true) >>> vcpu & 1) !== 0) {
      throw new VmmError("EBUSY");
    }
  }

  suspendCpu(vcpu: number): void {
    if ((this.#load(ACTIVE) >>> vcpu & 1) === 0) throw new VmmError("EINVAL");
    this.#change(DEBUG, vcpu, true);
    this.#kick(vcpu);
  }

  resumeCpu(vcpu: number): void {
    if ((this.#change(DEBUG, vcpu, false) >>> vcpu & 1) === 0) {
      throw new VmmError("EINVAL");
    }
    this.#kick(vcpu);
  }

  get active(): readonly number[] {
    return members(this.#load(ACTIVE));
  }

  get suspended(): readonly number[] {
    return members(this.#load(SUSPENDED));
  }

  get debug(): readonly number[] {
    return members(this.#load(DEBUG));
  }

  /** Whether a vCPU must not run: a debugger holds it, or nothing runs yet. */
  isPaused(vcpu: number): boolean {
    return (this.#load(DEBUG) >>> vcpu & 1) !== 0 || !this.has(MACHINE_FLAG.GO);
  }

  /** A vCPU stopped, since the machine ends. */
  markSuspended(vcpu: number): void {
    this.#change(SUSPENDED, vcpu, true);
    this.#kick(0);
  }

  /** Whether every active vCPU stopped. Those that a debugger holds count as such. */
  get isStopped(): boolean {
    const stopped = this.#load(SUSPENDED) | this.#load(DEBUG);
    return (this.#load(ACTIVE) & ~stopped) === 0;
  }

  /** A vCPU was started, or put back to wait for that. */
  markStarted(vcpu: number, isStarted: boolean): void {
    this.#change(STARTED, vcpu, isStarted);
  }

  /** A vCPU halted with interrupts off, or goes on. */
  markHalted(vcpu: number, isHalted: boolean): void {
    this.#change(HALTED, vcpu, isHalted);
  }

  /** Whether every vCPU that was started halted with interrupts off. */
  get isHalted(): boolean {
    return (this.#load(STARTED) & ~this.#load(HALTED)) === 0;
  }

  // --- The machine's devices -----------------------------------------------

  /** Whether a bit of `MACHINE_FLAG` is set. */
  has(flag: number): boolean {
    return (this.#load(FLAGS) & flag) !== 0;
  }

  /** Sets or clears a bit of `MACHINE_FLAG`; answers whether it was set. */
  set(flag: number, isSet: boolean): boolean {
    const old = isSet
      ? Atomics.or(this.#words, FLAGS, flag)
      : Atomics.and(this.#words, FLAGS, ~flag);
    return (old & flag) !== 0;
  }

  /** A vCPU calls a device: its words say which. */
  addCaller(vcpu: number): void {
    this.#change(CALLERS, vcpu, true);
    this.#kick(0);
  }

  /** Takes the vCPUs that call a device, as bits. */
  takeCallers(): number {
    if (this.#load(CALLERS) === 0) return 0;
    return Atomics.exchange(this.#words, CALLERS, 0);
  }

  /** A vCPU posted a write. */
  addWriter(vcpu: number): void {
    const others = this.#change(WRITERS, vcpu, true);
    if (others === 0) this.#kick(0);
  }

  /** Takes the vCPUs that posted writes, as bits. */
  takeWriters(): number {
    if (this.#load(WRITERS) === 0) return 0;
    return Atomics.exchange(this.#words, WRITERS, 0);
  }

  /** A local APIC ended a level-triggered interrupt. */
  postEnd(vector: number): void {
    Atomics.or(this.#words, ENDS + 1 + (vector >> 5), 1 << (vector & 31));
    Atomics.store(this.#words, ENDS, 1);
    this.#kick(0);
  }

  /** Takes the interrupts that ended. */
  takeEnds(end: (vector: number) => void): void {
    if (this.#load(ENDS) === 0) return;
    Atomics.store(this.#words, ENDS, 0);
    for (let at = 0; at < END_WORDS; at++) {
      let bits = Atomics.exchange(this.#words, ENDS + 1 + at, 0);
      while (bits !== 0) {
        const n = 31 - Math.clz32(bits);
        bits &= ~(1 << n);
        end(at << 5 | n);
      }
    }
  }
}
