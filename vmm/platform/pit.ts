// The 8254 of a PC: counter 0 interrupts, counter 2 is gated and seen through the
// system control port 61h, where the refresh toggles as it does on a PC AT. The
// speaker's bit is kept but heard by nobody.

import type { BusHandler } from "../bus.ts";
import type { Clock, DeviceState, IrqLine, Lifecycle } from "../device.ts";
import { PIT_NS_PER_TICK, PitChannel } from "./pit_channel.ts";
import { byteRegisters } from "./port_registers.ts";
import { flag, StateFormat } from "./state.ts";
import { TickTimer } from "./tick_timer.ts";

const CONTROL = 3;
// Port 61h.
const GATE = 0x01;
const SPEAKER = 0x02;
const REFRESH = 0x10;
const OUTPUT = 0x20;
// Half a refresh period: 18 clocks.
const REFRESH_NS = 15_085;

const STATE = new StateFormat("pit", 1, {
  channel0: PitChannel.CHECK,
  channel1: PitChannel.CHECK,
  channel2: PitChannel.CHECK,
  timer: TickTimer.CHECK,
  isSpeakerOn: flag,
});

/** The three counters and port 61h. */
export class Pit implements Lifecycle {
  readonly name = "pit";
  readonly #clock: Clock;
  readonly #channels: readonly [PitChannel, PitChannel, PitChannel];
  readonly #timer: TickTimer;
  #isSpeakerOn = false;

  /**
   * Makes it as it is after power-on.
   *
   * @param irq pulsed at each expiry of counter 0
   */
  constructor(clock: Clock, irq: IrqLine) {
    this.#clock = clock;
    this.#timer = new TickTimer(clock, PIT_NS_PER_TICK, () => irq.pulse());
    this.#channels = [
      new PitChannel(clock, true, () => this.#schedule()),
      new PitChannel(clock, true, () => {}),
      new PitChannel(clock, false, () => {}),
    ];
  }

  reset(): void {
    this.#isSpeakerOn = false;
    for (const channel of this.#channels) channel.reset();
  }

  #schedule(): void {
    const { start, initial, isPeriodic } = this.#channels[0];
    if (start === undefined) this.#timer.stop();
    else this.#timer.start(start, initial, isPeriodic ? initial : 0);
  }

  /** Ports 40h to 43h. */
  readonly ports: BusHandler = byteRegisters({
    read: (offset) => this.#channels[offset]?.read() ?? 0xff,
    write: (offset, value) => {
      if (offset === CONTROL) this.#control(value);
      else this.#channels[offset]?.write(value);
    },
  });

  /** Port 61h. */
  readonly systemControl: BusHandler = byteRegisters({
    read: () => this.#readSystemControl(),
    write: (_, value) => {
      this.#channels[2].gate = (value & GATE) !== 0;
      this.#isSpeakerOn = (value & SPEAKER) !== 0;
    },
  });

  #control(word: number): void {
    const number = word >> 6;
    if (number < 3) this.#channels[number]!.control(word);
    else this.#readBack(word);
  }

  // Bits 5 and 4 are clear for what is latched, bits 3 to 1 choose counters.
  #readBack(word: number): void {
    this.#channels.forEach((channel, n) => {
      if ((word >> n & 2) === 0) return;
      if ((word & 0x20) === 0) channel.latchCount();
      if ((word & 0x10) === 0) channel.latchStatus();
    });
  }

  #readSystemControl(): number {
    const channel = this.#channels[2];
    const isRefresh = Math.floor(this.#clock.now() / REFRESH_NS) % 2 !== 0;
    return (channel.gate ? GATE : 0) | (this.#isSpeakerOn ? SPEAKER : 0) |
      (isRefresh ? REFRESH : 0) | (channel.output ? OUTPUT : 0);
  }

  save(): DeviceState {
    const [channel0, channel1, channel2] = this.#channels;
    return STATE.save({
      channel0: channel0.save(),
      channel1: channel1.save(),
      channel2: channel2.save(),
      timer: this.#timer.save(),
      isSpeakerOn: this.#isSpeakerOn,
    });
  }

  restore(state: DeviceState): void {
    const values = STATE.check(state);
    const [channel0, channel1, channel2] = this.#channels;
    channel0.restore(values.channel0);
    channel1.restore(values.channel1);
    channel2.restore(values.channel2);
    this.#isSpeakerOn = values.isSpeakerOn;
    // After the counters, whose restoring sets it as if they had been written.
    this.#timer.restore(values.timer);
  }
}
