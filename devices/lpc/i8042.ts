// The keyboard controller at ports 60h and 64h (Intel 8042 as in the IBM PS/2 Hardware
// Interface Technical Reference; commands as bhyve has them, platform.md section 9),
// with a keyboard and a mouse. Interrupts are edges when the output buffer fills.

import type { Bus, BusHandler } from "../../vmm/bus.ts";
import type { DeviceState, IrqLine, Lifecycle } from "../../vmm/device.ts";
import { flag, part, queue, StateSchema, table, u8 } from "../state.ts";
import { KEYBOARD_STATE, Ps2Keyboard } from "./ps2_keyboard.ts";
import { MOUSE_STATE, Ps2Mouse } from "./ps2_mouse.ts";
import { translate } from "./scan_codes.ts";

const DATA_PORT = 0x60;
const COMMAND_PORT = 0x64;
/** ISA interrupt of the keyboard. */
export const KEYBOARD_IRQ = 1;
/** ISA interrupt of the mouse. */
export const MOUSE_IRQ = 12;

const STATUS_OUTPUT = 0x01;
const STATUS_SYSTEM = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX = 0x20;

const MODE_KEYBOARD_IRQ = 0x01;
const MODE_AUX_IRQ = 0x02;
const MODE_SYSTEM = 0x04;
const MODE_NO_KEYBOARD = 0x10;
const MODE_NO_AUX = 0x20;
const MODE_TRANSLATE = 0x40;
// As the firmware of a PC leaves it.
const RESET_MODE = MODE_TRANSLATE | MODE_SYSTEM | MODE_KEYBOARD_IRQ;

const OUTPUT_PORT_RESET = 0x01;
const OUTPUT_PORT_A20 = 0x02;
const RAM_BYTES = 32;
const FIFO_SIZE = 15;

const WRITE_OUTPUT_PORT = 0xd1;
const LOOP_KEYBOARD = 0xd2;
const LOOP_AUX = 0xd3;
const WRITE_AUX = 0xd4;

const SCHEMA = new StateSchema("i8042", 1, {
  mode: u8(RESET_MODE),
  ram: table(u8(), RAM_BYTES),
  outputPort: u8(OUTPUT_PORT_RESET | OUTPUT_PORT_A20),
  /** command that waits for its data, or 0 */
  command: u8(),
  /** whether the last write was to the command port */
  lastCommand: flag(),
  /** the output buffer: full, from the mouse, byte */
  full: flag(),
  aux: flag(),
  data: u8(),
  /** half of a translated release */
  releasing: flag(),
  replies: queue(u8(), FIFO_SIZE),
  auxReplies: queue(u8(), FIFO_SIZE),
  keyboard: part(KEYBOARD_STATE),
  mouse: part(MOUSE_STATE),
});

/** What the controller drives. */
export interface I8042Options {
  /** where its ports are claimed */
  readonly ports: Bus;
  /** ISA interrupt 1 */
  readonly keyboardIrq: IrqLine;
  /** ISA interrupt 12 */
  readonly mouseIrq: IrqLine;
  /** The guest pulled the reset line. */
  reset(): void;
}

/** The keyboard controller. */
export class I8042 implements Lifecycle {
  readonly name = "i8042";
  /** what keys are given to */
  readonly keyboard = new Ps2Keyboard(() => this.#fill());
  /** what pointer movement is given to */
  readonly mouse = new Ps2Mouse(() => this.#fill());
  #s = SCHEMA.initial();
  readonly #options: I8042Options;

  /** Claims its ports. */
  constructor(options: I8042Options) {
    this.#options = options;
    const claim = (start: number, handler: BusHandler, name: string) =>
      options.ports.claim({ start, length: 1, handler, name });
    claim(DATA_PORT, this.#dataPort, "i8042 data");
    claim(COMMAND_PORT, this.#commandPort, "i8042 command");
  }

  readonly #dataPort: BusHandler = {
    read: () => this.#readData(),
    write: (_offset, _bytes, value) => this.#writeData(Number(value & 0xffn)),
  };

  readonly #commandPort: BusHandler = {
    read: () => this.#status(),
    write: (_offset, _bytes, value) => {
      this.#s.lastCommand = true;
      this.#s.command = 0;
      this.#command(Number(value & 0xffn));
    },
  };

  #status(): number {
    const { full, aux, mode, lastCommand } = this.#s;
    return STATUS_UNLOCKED | (full ? STATUS_OUTPUT : 0) |
      (full && aux ? STATUS_AUX : 0) |
      ((mode & MODE_SYSTEM) !== 0 ? STATUS_SYSTEM : 0) |
      (lastCommand ? STATUS_COMMAND : 0);
  }

  #readData(): number {
    const { data } = this.#s;
    this.#s.full = false;
    this.#fill();
    return data;
  }

  /** Moves the next byte into the output buffer, if that is empty. */
  #fill(): void {
    if (this.#s.full) return;
    const next = this.#next();
    if (next === undefined) return;
    Object.assign(this.#s, next, { full: true });
    const wanted = next.aux ? MODE_AUX_IRQ : MODE_KEYBOARD_IRQ;
    if ((this.#s.mode & wanted) === 0) return;
    (next.aux ? this.#options.mouseIrq : this.#options.keyboardIrq).pulse();
  }

  /** The controller's own replies come first, then the keyboard, then the mouse. */
  #next(): { data: number; aux: boolean } | undefined {
    const reply = this.#s.replies.shift();
    if (reply !== undefined) return { data: reply, aux: false };
    const auxReply = this.#s.auxReplies.shift();
    if (auxReply !== undefined) return { data: auxReply, aux: true };
    const key = this.#nextKey();
    if (key !== undefined) return { data: key, aux: false };
    const off = (this.#s.mode & MODE_NO_AUX) !== 0;
    const move = off ? undefined : this.mouse.take();
    return move === undefined ? undefined : { data: move, aux: true };
  }

  #nextKey(): number | undefined {
    if ((this.#s.mode & MODE_NO_KEYBOARD) !== 0) return undefined;
    for (;;) {
      const byte = this.keyboard.take();
      const raw = (this.#s.mode & MODE_TRANSLATE) === 0;
      if (byte === undefined || raw) return byte;
      const { out, releasing } = translate(byte, this.#s.releasing);
      this.#s.releasing = releasing;
      if (out !== undefined) return out;
    }
  }

  #reply(byte: number, queue = this.#s.replies): void {
    if (queue.length < FIFO_SIZE) queue.push(byte);
    this.#fill();
  }

  #writeData(byte: number): void {
    const { command } = this.#s;
    this.#s.lastCommand = false;
    this.#s.command = 0;
    if (command === 0) this.#toKeyboard(byte);
    else if (command >= 0x60 && command <= 0x7f) {
      this.#writeRam(command - 0x60, byte);
    } else this.#dataOf[command]?.(byte);
  }

  #toKeyboard(byte: number): void {
    // Sending to the keyboard switches it on.
    this.#s.mode &= ~MODE_NO_KEYBOARD;
    this.keyboard.write(byte);
  }

  // What the data of a command does.
  readonly #dataOf: Readonly<Record<number, (byte: number) => void>> = {
    [WRITE_OUTPUT_PORT]: (byte) => {
      this.#s.outputPort = byte;
      if ((byte & OUTPUT_PORT_RESET) === 0) this.#options.reset();
    },
    [LOOP_KEYBOARD]: (byte) => this.#reply(byte),
    [LOOP_AUX]: (byte) => this.#reply(byte, this.#s.auxReplies),
    [WRITE_AUX]: (byte) => {
      this.#s.mode &= ~MODE_NO_AUX;
      this.mouse.write(byte);
    },
  };

  #writeRam(address: number, byte: number): void {
    if (address === 0) {
      this.#s.mode = byte;
      this.#fill();
    } else this.#s.ram[address] = byte;
  }

  #command(byte: number): void {
    if (byte >= 0x20 && byte <= 0x3f) {
      const address = byte - 0x20;
      this.#reply(address === 0 ? this.#s.mode : this.#s.ram[address] ?? 0);
    } else if (byte >= 0x60 && byte <= 0x7f || byte in this.#dataOf) {
      this.#s.command = byte;
    } else this.#commands[byte]?.();
  }

  // Commands without data; others are ignored.
  readonly #commands: Readonly<Record<number, () => void>> = {
    0xa7: () => this.#setMode(MODE_NO_AUX, true),
    0xa8: () => this.#setMode(MODE_NO_AUX, false),
    0xa9: () => this.#reply(0x00),
    0xaa: () => this.#reply(0x55),
    0xab: () => this.#reply(0x00),
    0xad: () => this.#setMode(MODE_NO_KEYBOARD, true),
    0xae: () => this.#setMode(MODE_NO_KEYBOARD, false),
    0xc0: () => this.#reply(0x00),
    0xd0: () => this.#reply(this.#s.outputPort),
    0xfe: () => this.#options.reset(),
  };

  #setMode(bit: number, on: boolean): void {
    this.#s.mode = on ? this.#s.mode | bit : this.#s.mode & ~bit;
    this.#fill();
  }

  reset(): void {
    this.#s = SCHEMA.initial();
    this.keyboard.reset();
    this.mouse.reset();
  }

  save(): DeviceState {
    return SCHEMA.save({
      ...this.#s,
      keyboard: this.keyboard.save(),
      mouse: this.mouse.save(),
    });
  }

  restore(state: DeviceState): void {
    const next = SCHEMA.restore(state);
    this.keyboard.restore(next.keyboard);
    this.mouse.restore(next.mouse);
    this.#s = next;
  }
}
