// A UART with what is at both of its sides: a backend whose input waits in a queue
// until the receiver has room, and byte registers on a bus.

import type { BusHandler } from "../../vmm/bus.ts";
import type { DeviceState } from "../../vmm/device.ts";
import { part, queue, StateSchema, u8 } from "../state.ts";
import { type CharBackend, InputQueue, NO_BACKEND } from "./char_backend.ts";
import { Uart16550, UART_REGISTERS, UART_STATE } from "./uart16550.ts";

// A few screens of pasted text.
const QUEUE_BYTES = 4096;
const SCHEMA = new StateSchema("serial-port", 1, {
  waiting: queue(u8(), QUEUE_BYTES),
  uart: part(UART_STATE),
});

/** A UART between a bus and a backend. */
export class SerialPort {
  /** registers and receiver */
  readonly uart: Uart16550;
  readonly #queue: InputQueue;
  readonly #backend: CharBackend;

  /**
   * Connects a UART to a backend.
   *
   * @param interrupt told the level of the interrupt pin, or again that it is up when
   * another cause takes over
   * @param backend default: none, output is lost
   */
  constructor(
    interrupt: (level: boolean) => void,
    backend: CharBackend = NO_BACKEND,
  ) {
    this.#backend = backend;
    this.#queue = new InputQueue(QUEUE_BYTES, () => this.#pump());
    this.uart = new Uart16550({
      interrupt,
      transmit: (byte) => backend.write(byte),
      room: () => backend.room?.() ?? Infinity,
      flushInput: () => this.#queue.clear(),
    });
    backend.onInput({
      offer: (bytes) => this.#queue.offer(bytes),
      drained: () => this.uart.transmitterEmptied(),
    });
  }

  #pump(): void {
    while (this.uart.room > 0) {
      const byte = this.#queue.take();
      if (byte === undefined) break;
      this.uart.receive(byte);
    }
    if (this.#queue.wantsReady()) this.#backend.ready?.();
  }

  /** Eight byte registers; wider accesses are consecutive registers. */
  readonly handler: BusHandler = {
    read: (offset, bytes) => {
      let value = 0n;
      for (let i = 0; i < bytes; i++) {
        value |= BigInt(this.#read(offset + i)) << BigInt(8 * i);
      }
      return bytes === 8 ? value : Number(value);
    },
    write: (offset, bytes, value) => {
      for (let i = 0; i < bytes; i++) {
        const byte = Number(value >> BigInt(8 * i) & 0xffn);
        if (offset + i < UART_REGISTERS) this.uart.write(offset + i, byte);
      }
      this.#pump();
    },
  };

  #read(offset: number): number {
    const value = this.uart.read(offset);
    this.#pump();
    return value;
  }

  /** Puts it into its state after power-on. */
  reset(): void {
    this.#queue.clear();
    this.uart.reset();
  }

  /** The UART and the input that waits for it. */
  save(): DeviceState {
    const uart = this.uart.save();
    return SCHEMA.save({ waiting: this.#queue.contents, uart });
  }

  /** Takes a state. */
  restore(state: DeviceState): void {
    const { waiting, uart } = SCHEMA.restore(state);
    this.uart.restore(uart);
    this.#queue.restore(waiting);
  }
}
