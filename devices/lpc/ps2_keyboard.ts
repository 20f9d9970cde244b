// A PS/2 keyboard with scan code set 2 (IBM PS/2 Hardware Interface Technical Reference,
// keyboards): its commands and the queue of what it has to say. Which commands there are
// follows bhyve; typematic repeat is the host's.

import type { DeviceState } from "../../vmm/device.ts";
import { flag, queue, StateSchema, u8 } from "../state.ts";
import { keySequence } from "./scan_codes.ts";

const FIFO_SIZE = 16;
const ACK = 0xfa;
const TEST_PASSED = 0xaa;
const ECHO = 0xee;
const SCAN_SET = 2;

const SET_LEDS = 0xed;
const SET_SCAN_SET = 0xf0;
const IDENTIFY = 0xf2;
const SET_TYPEMATIC = 0xf3;
const ENABLE = 0xf4;
const DISABLE = 0xf5;
const RESET = 0xff;

const WITH_ARGUMENT = new Set([SET_LEDS, SET_SCAN_SET, SET_TYPEMATIC]);

/** What a snapshot has of a keyboard. */
export const KEYBOARD_STATE = new StateSchema("ps2-keyboard", 1, {
  scanning: flag(true),
  /** command that waits for its argument, or 0 */
  command: u8(),
  leds: u8(),
  output: queue(u8(), FIFO_SIZE),
});

/** A keyboard. */
export class Ps2Keyboard {
  #s = KEYBOARD_STATE.initial();

  /**
   * Makes a keyboard.
   *
   * @param ready called when it has something to say
   */
  constructor(readonly ready: () => void) {}

  /** Lights: bit 0 scroll lock, 1 number lock, 2 capitals lock. */
  get leds(): number {
    return this.#s.leds;
  }

  /**
   * A key went down or up.
   *
   * @param xt set 1 code; bit 7 or a high byte of E0h for extended keys
   * @returns false where it was dropped: unknown, not scanning, queue full
   */
  key(xt: number, down: boolean): boolean {
    const bytes = keySequence(xt, down);
    const room = FIFO_SIZE - this.#s.output.length;
    if (bytes.length === 0 || bytes.length > room || !this.#s.scanning) {
      return false;
    }
    this.#say(...bytes);
    return true;
  }

  /** The next byte for the controller. */
  take(): number | undefined {
    return this.#s.output.shift();
  }

  #say(...bytes: number[]): void {
    for (const byte of bytes) {
      if (this.#s.output.length < FIFO_SIZE) this.#s.output.push(byte);
    }
    this.ready();
  }

  /** Takes a byte from the controller. */
  write(byte: number): void {
    const { command } = this.#s;
    this.#s.command = 0;
    if (command !== 0) this.#argument(command, byte);
    else this.#command(byte);
  }

  #argument(command: number, byte: number): void {
    if (command === SET_LEDS) this.#s.leds = byte & 7;
    const asksSet = command === SET_SCAN_SET && byte === 0;
    this.#say(ACK, ...asksSet ? [SCAN_SET] : []);
  }

  #command(byte: number): void {
    if (WITH_ARGUMENT.has(byte)) this.#s.command = byte;
    const act = this.#commands[byte];
    if (act === undefined) this.#say(ACK);
    else act();
  }

  readonly #commands: Readonly<Record<number, () => void>> = {
    [ECHO]: () => this.#say(ECHO),
    [IDENTIFY]: () => this.#say(ACK, 0xab, 0x83),
    [ENABLE]: () => {
      this.#s.scanning = true;
      this.#say(ACK);
    },
    [DISABLE]: () => {
      this.#s.scanning = false;
      this.#say(ACK);
    },
    [RESET]: () => {
      this.reset();
      this.#say(ACK, TEST_PASSED);
    },
  };

  /** Puts it into its state after power-on. */
  reset(): void {
    this.#s = KEYBOARD_STATE.initial();
  }

  /** Its state. */
  save(): DeviceState {
    return KEYBOARD_STATE.save(this.#s);
  }

  /** Takes a state. */
  restore(state: DeviceState): void {
    this.#s = KEYBOARD_STATE.restore(state);
  }
}
