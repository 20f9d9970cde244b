// The devices as a vCPU without any in its thread reaches them: its own local APIC
// here, everything else by calls to the machine's thread.

import {
  ANSWER,
  CALL,
  type DeviceCall,
  DeviceCallWords,
} from "./device_calls.ts";
import type { Board } from "./board.ts";
import type { LocalTimers } from "./local_timers.ts";

/** Looks for an answer before the thread sleeps for it. */
const SPINS = 2000;
/** Longest sleep, so that the end of the machine is seen. */
const SLEEP_MS = 100;

/** What a caller does around its wait. */
export interface CallerThread {
  /** number of the vCPU */
  readonly vcpu: number;
  /**
   * Calls `wait` while the vCPU counts as not running; answers whether what it holds
   * of guest memory may have changed meanwhile.
   */
  whileParked(wait: () => void): boolean;
}

/** Calls of one vCPU. */
export class RemoteDevices {
  readonly #words: DeviceCallWords;
  readonly #board: Board;
  readonly #thread: CallerThread;
  readonly #timers: LocalTimers;
  #answered: { readonly value: bigint } | undefined;

  constructor(board: Board, timers: LocalTimers, thread: CallerThread) {
    this.#timers = timers;
    this.#words = new DeviceCallWords(board.callWords(thread.vcpu));
    this.#board = board;
    this.#thread = thread;
  }

  /**
   * Calls a device: what it answers; undefined where none claims the address, or where
   * the instruction must be tried again with `takeAnswer`.
   */
  call(call: DeviceCall): bigint | undefined {
    const words = this.#words;
    words.begin(call);
    const isChanged = this.#thread.whileParked(() => {
      this.#board.addCaller(this.#thread.vcpu);
      for (let n = 0; n < SPINS; n++) {
        if (words.status !== ANSWER.NONE) return;
      }
      // A machine that ends does not answer any more.
      while (words.status === ANSWER.NONE && this.#board.how === 0) {
        words.wait(SLEEP_MS);
      }
    });
    if (words.status !== ANSWER.DONE) return undefined;
    const { value } = words;
    if (!isChanged) return value;
    // The instruction may have looked at pages that changed: it starts anew.
    this.#answered = { value };
    return undefined;
  }

  /** The answer to the access that left as an exit, where a device gave it already. */
  takeAnswer(): { readonly value: bigint } | undefined {
    const answered = this.#answered;
    this.#answered = undefined;
    return answered;
  }

  readPort(port: number, bytes: number): number | undefined {
    const time = this.#timers.readPort(port, bytes);
    if (time !== undefined) return time;
    const value = this.#access(CALL.READ_PORT, port, bytes);
    return value === undefined ? undefined : Number(value);
  }

  writePort(port: number, bytes: number, value: number): boolean {
    const kind = CALL.WRITE_PORT;
    return this.#access(kind, port, bytes, BigInt(value)) !== undefined;
  }

  readMemory(gpa: number, bytes: number): bigint | undefined {
    return this.#timers.readMemory(gpa, bytes) ??
      this.#access(CALL.READ_MEMORY, gpa, bytes);
  }

  writeMemory(gpa: number, bytes: number, value: bigint): boolean {
    return this.#access(CALL.WRITE_MEMORY, gpa, bytes, value) !== undefined;
  }

  /** Acknowledges the interrupt of the 8259s. */
  acknowledge(): number {
    return Number(this.#access(CALL.ACKNOWLEDGE, 0, 1) ?? 0n);
  }

  #access(kind: number, address: number, bytes: number, value = 0n) {
    return this.call({ kind, address, bytes, value });
  }
}
