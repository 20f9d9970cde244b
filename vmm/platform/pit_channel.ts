// One counter of an 8254 (Intel 8254 data sheet): modes 0 to 5, access to the lower
// byte, the higher or both, latches of count and status, BCD. A new count takes effect
// at once in all modes, and the one clock that loading takes is left out.

import type { Clock } from "../device.ts";
import { flag, integer, record, ticks, time } from "./state.ts";

/** The 8254's clock on a PC, in hertz. */
export const PIT_HZ = 1_193_182;
/** Nanoseconds in a clock. */
export const PIT_NS_PER_TICK: number = 1e9 / PIT_HZ;

/** Access modes: bits 5:4 of a control word; 0 latches the count. */
export const ACCESS = { LATCH: 0, LOW: 1, HIGH: 2, BOTH: 3 } as const;

/** Counting modes. */
export const MODE = {
  TERMINAL_COUNT: 0,
  ONE_SHOT: 1,
  RATE: 2,
  SQUARE: 3,
  SOFTWARE_STROBE: 4,
  HARDWARE_STROBE: 5,
} as const;

interface ModeFacts {
  /** its output before it counts */
  readonly idle: boolean;
  /** it counts only after the gate rose */
  readonly isTriggered: boolean;
  /** it starts over by itself */
  readonly isPeriodic: boolean;
  /** The output after `e` clocks of a count of `n`. */
  output(e: number, n: number): boolean;
  /** The counter after `e` clocks of a count of `n`; below 0 it wraps. */
  count(e: number, n: number): number;
}

const down = (e: number, n: number) => n - e;

const FACTS: readonly ModeFacts[] = [
  {
    idle: false,
    isTriggered: false,
    isPeriodic: false,
    output: (e, n) => e >= n,
    count: down,
  },
  {
    idle: true,
    isTriggered: true,
    isPeriodic: false,
    output: (e, n) => e >= n,
    count: down,
  },
  {
    idle: true,
    isTriggered: false,
    isPeriodic: true,
    output: (e, n) => e % n !== n - 1,
    count: (e, n) => n - e % n,
  },
  {
    idle: true,
    isTriggered: false,
    isPeriodic: true,
    output: (e, n) => e % n < Math.ceil(n / 2),
    count: squareCount,
  },
  {
    idle: true,
    isTriggered: false,
    isPeriodic: false,
    output: (e, n) => e !== n,
    count: down,
  },
  {
    idle: true,
    isTriggered: true,
    isPeriodic: false,
    output: (e, n) => e !== n,
    count: down,
  },
];

// Mode 3 counts by two, twice in a period.
function squareCount(e: number, n: number): number {
  const phase = e % n;
  const high = Math.ceil(n / 2);
  return (n & ~1) - 2 * (phase < high ? phase : phase - high);
}

const CHECK = record({
  access: integer(ACCESS.BOTH, ACCESS.LOW),
  mode: integer(MODE.HARDWARE_STROBE),
  isBcd: flag,
  reload: integer(0xffff),
  isLoaded: flag,
  isCounting: flag,
  start: time,
  held: ticks,
  gate: flag,
  lowWritten: integer(0xff, -1),
  readsHigh: flag,
  latch: integer(0xffff, -1),
  status: integer(0xff, -1),
});

/** The state of a counter. */
export type PitChannelState = ReturnType<typeof CHECK>;

const POWER_ON: PitChannelState = {
  access: ACCESS.BOTH,
  mode: MODE.TERMINAL_COUNT,
  isBcd: false,
  reload: 0,
  isLoaded: false,
  isCounting: false,
  start: 0,
  held: 0,
  gate: true,
  lowWritten: -1,
  readsHigh: false,
  latch: -1,
  status: -1,
};

/** One counter. */
export class PitChannel {
  /** Checks a saved state. */
  static readonly CHECK: typeof CHECK = CHECK;

  readonly #clock: Clock;
  readonly #changed: () => void;
  readonly #initialGate: boolean;
  #state: { -readonly [K in keyof PitChannelState]: PitChannelState[K] };

  /**
   * @param gate the gate's level after power-on
   * @param changed called when its expiries may have changed
   */
  constructor(clock: Clock, gate: boolean, changed: () => void) {
    this.#clock = clock;
    this.#initialGate = gate;
    this.#changed = changed;
    this.#state = { ...POWER_ON, gate };
  }

  /** Into the state after power-on. */
  reset(): void {
    this.#state = { ...POWER_ON, gate: this.#initialGate };
    this.#changed();
  }

  // --- Counting ------------------------------------------------------------

  get #facts(): ModeFacts {
    return FACTS[this.#state.mode]!;
  }

  /** When it started to count, where it does. */
  get start(): number | undefined {
    return this.#state.isCounting ? this.#state.start : undefined;
  }

  /** The initial count in clocks: 0 stands for the most that there is. */
  get initial(): number {
    const { reload, isBcd } = this.#state;
    return (isBcd ? fromBcd(reload) : reload) || this.#modulus;
  }

  /** Whether it starts over by itself. */
  get isPeriodic(): boolean {
    return this.#facts.isPeriodic;
  }

  get #modulus(): number {
    return this.#state.isBcd ? 10_000 : 0x1_0000;
  }

  get #elapsed(): number {
    const { isCounting, start, held } = this.#state;
    if (!isCounting) return held;
    const passed = (this.#clock.now() - start) / PIT_NS_PER_TICK;
    return Math.max(0, Math.floor(passed));
  }

  /** The output. */
  get output(): boolean {
    const { isLoaded, gate, isCounting } = this.#state;
    const facts = this.#facts;
    if (!isLoaded || facts.isPeriodic && !gate) return facts.idle;
    if (facts.isTriggered && !isCounting) return facts.idle;
    return facts.output(this.#elapsed, this.initial);
  }

  get #count(): number {
    const count = this.#facts.count(this.#elapsed, this.initial);
    const modulus = this.#modulus;
    const wrapped = ((count % modulus) + modulus) % modulus;
    return this.#state.isBcd ? toBcd(wrapped) : wrapped;
  }

  #load(value: number): void {
    const state = this.#state;
    state.reload = value;
    state.isLoaded = true;
    state.held = 0;
    state.isCounting = false;
    if (state.gate && !this.#facts.isTriggered) this.#run();
    this.#changed();
  }

  #run(): void {
    const state = this.#state;
    state.isCounting = true;
    state.start = this.#clock.now() - state.held * PIT_NS_PER_TICK;
  }

  /** Drives the gate, which holds modes 0 and 4 and starts the others over. */
  set gate(level: boolean) {
    const state = this.#state;
    const facts = this.#facts;
    if (level === state.gate) return;
    const elapsed = this.#elapsed;
    state.gate = level;
    if (!state.isLoaded) return;
    if (level) {
      if (facts.isTriggered || facts.isPeriodic) state.held = 0;
      this.#run();
    } else if (!facts.isTriggered) {
      state.held = elapsed;
      state.isCounting = false;
    }
    this.#changed();
  }
  get gate(): boolean {
    return this.#state.gate;
  }

  // --- Registers -----------------------------------------------------------

  /** Takes a control word that is for this counter. */
  control(word: number): void {
    const state = this.#state;
    const access = word >> 4 & 3;
    if (access === ACCESS.LATCH) return this.latchCount();
    const mode = word >> 1 & 7;
    this.#state = {
      ...POWER_ON,
      gate: state.gate,
      access,
      // Modes 6 and 7 are 2 and 3.
      mode: mode > MODE.HARDWARE_STROBE ? mode - 4 : mode,
      isBcd: (word & 1) !== 0,
    };
    this.#changed();
  }

  /** Keeps the count until it is read; nothing happens where one is kept. */
  latchCount(): void {
    if (this.#state.latch < 0) this.#state.latch = this.#count;
  }

  /** Keeps the status until it is read; nothing happens where one is kept. */
  latchStatus(): void {
    const state = this.#state;
    if (state.status >= 0) return;
    state.status = (this.output ? 0x80 : 0) | (state.isLoaded ? 0 : 0x40) |
      state.access << 4 | state.mode << 1 | (state.isBcd ? 1 : 0);
  }

  /** Reads a byte: the status, then the count that is kept, else the live one. */
  read(): number {
    const state = this.#state;
    const { status } = state;
    if (status >= 0) {
      state.status = -1;
      return status;
    }
    const count = state.latch >= 0 ? state.latch : this.#count;
    const isHigh = state.access === ACCESS.HIGH || state.readsHigh;
    const isFirst = state.access === ACCESS.BOTH && !state.readsHigh;
    state.readsHigh = isFirst;
    if (!isFirst) state.latch = -1;
    return isHigh ? count >> 8 : count & 0xff;
  }

  /** Writes a byte of the initial count. */
  write(value: number): void {
    const state = this.#state;
    if (state.access === ACCESS.LOW) return this.#load(value);
    if (state.access === ACCESS.HIGH) return this.#load(value << 8);
    if (state.lowWritten < 0) {
      state.lowWritten = value;
      // In mode 0 the first byte stops the count.
      if (state.mode === MODE.TERMINAL_COUNT) this.#stop();
      return;
    }
    const count = value << 8 | state.lowWritten;
    state.lowWritten = -1;
    this.#load(count);
  }

  #stop(): void {
    this.#state.isLoaded = false;
    this.#state.isCounting = false;
    this.#changed();
  }

  // --- Save and restore ----------------------------------------------------

  /** Its state. */
  save(): PitChannelState {
    return { ...this.#state };
  }

  /** Goes on from a checked state. */
  restore(state: PitChannelState): void {
    this.#state = { ...state };
    this.#changed();
  }
}

function fromBcd(value: number): number {
  return (value >> 12) * 1000 + (value >> 8 & 15) * 100 +
    (value >> 4 & 15) * 10 + (value & 15);
}

function toBcd(value: number): number {
  const digit = (unit: number) => Math.floor(value / unit) % 10;
  return digit(1000) << 12 | digit(100) << 8 | digit(10) << 4 | digit(1);
}
