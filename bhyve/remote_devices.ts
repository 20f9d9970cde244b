// The devices as a vCPU without any in its thread reaches them: its own local APIC
// here, everything else by calls to the machine's thread.

import {
  ANSWER,
  CALL,
  type DeviceCall,
  DeviceCallWords,
} from "./device_calls.ts";
import type { Board } from "./board.ts";
import { COM_PORTS } from "../devices/uart/com_port.ts";
import type { LocalTimers } from "./local_timers.ts";
import { PostedWrites, SPACE_MEMORY, SPACE_PORTS } from "./posted_writes.ts";

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

/** What calls are made with. */
export interface RemoteParts {
  readonly board: Board;
  readonly timers: LocalTimers;
  readonly thread: CallerThread;
  /** whether a port that no device has ends the machine: then every write waits */
  readonly strictIo: boolean;
}

// Ports whose writes need not be waited for: serial lines, and PCI's configuration
// address. Not those that may end the machine, whose writer must not go on.
const POSTED_PORTS: readonly (readonly [number, number])[] = [
  ...Object.values(COM_PORTS).map(({ port }) => [port, port + 8] as const),
  [0xcf8, 0xcf9],
];

function isPostedPort(port: number, bytes: number): boolean {
  return POSTED_PORTS.some(([start, end]) =>
    port >= start && port < end && (port !== 0xcf8 || bytes === 4)
  );
}

const FOUR_GIB = 2 ** 32;

/** Calls of one vCPU. */
export class RemoteDevices {
  readonly #words: DeviceCallWords;
  readonly #board: Board;
  readonly #thread: CallerThread;
  readonly #timers: LocalTimers;
  readonly #writes: PostedWrites;
  readonly #postsPorts: boolean;
  #answered: { readonly value: bigint } | undefined;

  constructor({ board, timers, thread, strictIo }: RemoteParts) {
    this.#timers = timers;
    this.#writes = new PostedWrites(board.writeWords(thread.vcpu));
    this.#postsPorts = !strictIo;
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
    const isPosted = this.#postsPorts && isPostedPort(port, bytes) &&
      this.#post(SPACE_PORTS, port, bytes, BigInt(value));
    if (isPosted) return true;
    const kind = CALL.WRITE_PORT;
    return this.#access(kind, port, bytes, BigInt(value)) !== undefined;
  }

  readMemory(gpa: number, bytes: number): bigint | undefined {
    return this.#timers.readMemory(gpa, bytes) ??
      this.#access(CALL.READ_MEMORY, gpa, bytes);
  }

  writeMemory(gpa: number, bytes: number, value: bigint): boolean {
    const isPosted = gpa < FOUR_GIB &&
      this.#post(SPACE_MEMORY, gpa, bytes, value);
    if (isPosted) return true;
    return this.#access(CALL.WRITE_MEMORY, gpa, bytes, value) !== undefined;
  }

  #post(space: number, address: number, bytes: number, value: bigint): boolean {
    if (!this.#writes.post(space, address, bytes, value)) return false;
    this.#board.addWriter(this.#thread.vcpu);
    return true;
  }

  /** Acknowledges the interrupt of the 8259s. */
  acknowledge(): number {
    return Number(this.#access(CALL.ACKNOWLEDGE, 0, 1) ?? 0n);
  }

  #access(kind: number, address: number, bytes: number, value = 0n) {
    return this.call({ kind, address, bytes, value });
  }
}
