// A PS/2 mouse with three buttons and no wheel (IBM PS/2 Hardware Interface Technical
// Reference, mouse): commands, and movement packets of three bytes made from absolute
// positions. Movement waits while the queue is full, and nothing of it is lost.

import type { DeviceState } from "../../vmm/device.ts";
import { flag, queue, signed, StateSchema, u8 } from "../state.ts";

const FIFO_SIZE = 16;
const PACKET = 3;
const ACK = 0xfa;
const RESEND = 0xfe;
const TEST_PASSED = 0xaa;
const DEVICE_ID = 0;

const SET_RESOLUTION = 0xe8;
const SET_RATE = 0xf3;
const RATE = 100;
const RESOLUTION = 2;
const MOST_DISTANCE = 1 << 20;
const ALWAYS_ONE = 0x08;
const X_NEGATIVE = 0x10;
const Y_NEGATIVE = 0x20;

/** What a snapshot has of a mouse. */
export const MOUSE_STATE = new StateSchema("ps2-mouse", 1, {
  reporting: flag(),
  remote: flag(),
  doubled: flag(),
  resolution: u8(RESOLUTION),
  rate: u8(RATE),
  /** command that waits for its argument, or 0 */
  command: u8(),
  buttons: u8(),
  /** position of the host's pointer */
  x: signed(MOST_DISTANCE),
  y: signed(MOST_DISTANCE),
  /** movement that is not reported yet; up is positive */
  dx: signed(MOST_DISTANCE),
  dy: signed(MOST_DISTANCE),
  changed: flag(),
  output: queue(u8(), FIFO_SIZE),
});

type MouseState = ReturnType<typeof MOUSE_STATE.initial>;

function clamp(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, Math.trunc(value)));
}

/** A mouse. */
export class Ps2Mouse {
  #s = MOUSE_STATE.initial();

  /**
   * Makes a mouse.
   *
   * @param ready called when it has something to say
   */
  constructor(readonly ready: () => void) {}

  /**
   * The host's pointer moved.
   *
   * @param buttons bit 0 left, 1 right, 2 middle
   * @param x pixels from the left
   * @param y pixels from the top
   */
  pointer(buttons: number, x: number, y: number): void {
    const s = this.#s;
    const newX = clamp(x, MOST_DISTANCE);
    const newY = clamp(y, MOST_DISTANCE);
    s.dx = clamp(s.dx + newX - s.x, MOST_DISTANCE);
    s.dy = clamp(s.dy + s.y - newY, MOST_DISTANCE);
    Object.assign(s, { x: newX, y: newY, buttons: buttons & 7, changed: true });
    this.#report();
  }

  get #due(): boolean {
    const { reporting, remote, changed, output } = this.#s;
    const room = FIFO_SIZE - output.length >= PACKET;
    return reporting && !remote && changed && room;
  }

  #report(): void {
    if (this.#due) this.#say(...this.#packet());
  }

  #packet(): number[] {
    const s = this.#s;
    const dx = clamp(s.dx, 255);
    const dy = clamp(s.dy, 255);
    s.dx -= dx;
    s.dy -= dy;
    s.changed = s.dx !== 0 || s.dy !== 0;
    const signs = (dx < 0 ? X_NEGATIVE : 0) | (dy < 0 ? Y_NEGATIVE : 0);
    return [ALWAYS_ONE | signs | s.buttons, dx & 0xff, dy & 0xff];
  }

  /** The next byte for the controller. */
  take(): number | undefined {
    const byte = this.#s.output.shift();
    // Queued without telling: the controller is in the middle of taking.
    if (byte !== undefined && this.#due) this.#s.output.push(...this.#packet());
    return byte;
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
    if (command === SET_RESOLUTION) this.#s.resolution = byte;
    if (command === SET_RATE) this.#s.rate = byte;
    if (command !== 0) return this.#say(ACK);
    const act = this.#commands[byte];
    if (act === undefined) return this.#say(RESEND);
    this.#say(ACK, ...act() ?? []);
    this.#report();
  }

  #set(change: Partial<MouseState>): void {
    Object.assign(this.#s, change);
  }

  #status(): number[] {
    const { remote, reporting, doubled, buttons, resolution, rate } = this.#s;
    const flags = (remote ? 0x40 : 0) | (reporting ? 0x20 : 0) |
      (doubled ? 0x10 : 0);
    // Status has the left button highest, packets have it lowest.
    const left = (buttons & 1) << 2;
    const middle = (buttons & 4) >> 1;
    const right = (buttons & 2) >> 1;
    return [flags | left | middle | right, resolution, rate];
  }

  // What each command does; the bytes it returns follow the acknowledgement.
  readonly #commands: Readonly<Record<number, () => number[] | void>> = {
    0xe6: () => this.#set({ doubled: false }),
    0xe7: () => this.#set({ doubled: true }),
    [SET_RESOLUTION]: () => this.#set({ command: SET_RESOLUTION }),
    0xe9: () => this.#status(),
    0xea: () => this.#set({ remote: false }),
    0xeb: () => this.#packet(),
    0xf0: () => this.#set({ remote: true }),
    0xf2: () => [DEVICE_ID],
    [SET_RATE]: () => this.#set({ command: SET_RATE }),
    0xf4: () => this.#set({ reporting: true }),
    0xf5: () => this.#set({ reporting: false }),
    0xf6: () => this.#setDefaults(),
    0xff: () => {
      this.#setDefaults();
      this.#s.output = [];
      return [TEST_PASSED, DEVICE_ID];
    },
  };

  #setDefaults(): void {
    const { x, y, output } = this.#s;
    this.#s = { ...MOUSE_STATE.initial(), x, y, output };
  }

  /** Puts it into its state after power-on. */
  reset(): void {
    this.#s = MOUSE_STATE.initial();
  }

  /** Its state. */
  save(): DeviceState {
    return MOUSE_STATE.save(this.#s);
  }

  /** Takes a state. */
  restore(state: DeviceState): void {
    this.#s = MOUSE_STATE.restore(state);
  }
}
