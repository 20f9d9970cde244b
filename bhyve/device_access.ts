// Accesses to a machine's devices, whoever makes them: vCPU 0 in their thread, the
// others by calls and posted writes. What was posted before comes first.

import type { Bus } from "../vmm/bus.ts";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import type { Board } from "./board.ts";
import { CALL, type DeviceCall, DeviceCallWords } from "./device_calls.ts";
import { PostedWrites, SPACE_PORTS } from "./posted_writes.ts";

/** Addresses from here on that nothing has end the machine, as bhyve's fallback does. */
const FOUR_GIB = 2 ** 32;

/** What accesses are made to. */
export interface DeviceAccessParts {
  readonly ports: Bus;
  readonly memory: Bus;
  readonly board: Board;
  /** vCPUs in all */
  readonly vcpus: number;
  /** whether an access to a port that no device has ends the machine */
  readonly strictIo: boolean;
  /** acknowledges the interrupt of the 8259s: its vector */
  acknowledge(): number;
}

interface Caller {
  readonly calls: DeviceCallWords;
  readonly writes: PostedWrites;
}

/** The devices of a machine, by address. */
export class DeviceAccess {
  readonly #parts: DeviceAccessParts;
  // By vCPU, from 1 on.
  readonly #callers: readonly Caller[];

  constructor(parts: DeviceAccessParts) {
    this.#parts = parts;
    const { board, vcpus } = parts;
    this.#callers = Array.from({ length: vcpus - 1 }, (_, n) => ({
      calls: new DeviceCallWords(board.callWords(n + 1)),
      writes: new PostedWrites(board.writeWords(n + 1)),
    }));
  }

  // --- vCPU 0 ----------------------------------------------------------------

  /** Reads a port; undefined where no device has it and that ends the machine. */
  readPort(port: number, bytes: number): number | undefined {
    this.takeWrites();
    return this.#readPort(port, bytes);
  }

  /** Writes a port; false where the write, or that no device has it, ends the machine. */
  writePort(port: number, bytes: number, value: number): boolean {
    this.takeWrites();
    return this.#writePort(port, bytes, BigInt(value));
  }

  /** Reads device memory; undefined where that ends the machine. */
  readMemory(gpa: number, bytes: number): bigint | undefined {
    this.takeWrites();
    return this.#readMemory(gpa, bytes);
  }

  /** Writes device memory; false where that ends the machine. */
  writeMemory(gpa: number, bytes: number, value: bigint): boolean {
    this.takeWrites();
    return this.#writeMemory(gpa, bytes, value);
  }

  #readPort(port: number, bytes: number): number | undefined {
    const range = this.#parts.ports.find(port, bytes);
    if (range !== undefined) {
      return Number(range.handler.read(port - range.start, bytes));
    }
    return this.#parts.strictIo ? undefined : 2 ** (8 * bytes) - 1;
  }

  #writePort(port: number, bytes: number, value: bigint): boolean {
    const { ports, board, strictIo } = this.#parts;
    const range = ports.find(port, bytes);
    range?.handler.write(port - range.start, bytes, value);
    // What switches the machine off is the guest's last instruction.
    if (board.how !== SUSPEND.NONE) return false;
    return range !== undefined || !strictIo;
  }

  #readMemory(gpa: number, bytes: number): bigint | undefined {
    const range = this.#parts.memory.find(gpa, bytes);
    if (range !== undefined) {
      return BigInt(range.handler.read(gpa - range.start, bytes));
    }
    return gpa < FOUR_GIB ? (1n << BigInt(8 * bytes)) - 1n : undefined;
  }

  #writeMemory(gpa: number, bytes: number, value: bigint): boolean {
    const range = this.#parts.memory.find(gpa, bytes);
    range?.handler.write(gpa - range.start, bytes, value);
    return range !== undefined || gpa < FOUR_GIB;
  }

  // --- The others ------------------------------------------------------------

  /** Does the writes that were posted. */
  takeWrites(): void {
    const writers = this.#parts.board.takeWriters();
    if (writers === 0) return;
    for (const [n, { writes }] of this.#callers.entries()) {
      if ((writers >>> n + 1 & 1) === 0) continue;
      writes.take((space, address, bytes, value) => {
        if (space === SPACE_PORTS) this.#writePort(address, bytes, value);
        else this.#writeMemory(address, bytes, value);
      });
    }
  }

  /** Answers the calls that wait; tells whether there were any. */
  answerCalls(): boolean {
    this.takeWrites();
    const callers = this.#parts.board.takeCallers();
    if (callers === 0) return false;
    for (const [n, { calls }] of this.#callers.entries()) {
      if ((callers >>> n + 1 & 1) === 0) continue;
      // What it posted before its call, too.
      this.takeWrites();
      calls.answer(this.#perform(calls.call));
    }
    return true;
  }

  #perform(
    { kind, address, bytes, value }: DeviceCall,
  ): bigint | undefined {
    const done = (isDone: boolean) => isDone ? 0n : undefined;
    switch (kind) {
      case CALL.READ_PORT: {
        const read = this.#readPort(address, bytes);
        return read === undefined ? undefined : BigInt(read);
      }
      case CALL.WRITE_PORT:
        return done(this.#writePort(address, bytes, value));
      case CALL.READ_MEMORY:
        return this.#readMemory(address, bytes);
      case CALL.WRITE_MEMORY:
        return done(this.#writeMemory(address, bytes, value));
      case CALL.ACKNOWLEDGE:
        return BigInt(this.#parts.acknowledge());
      default:
        return undefined;
    }
  }
}
