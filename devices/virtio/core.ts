// The state of a virtio device that both register layouts show: status, features,
// queues, interrupt causes (virtio 1.2, 2.1-2.3, 3.1). A driver that breaks a rule stops
// the device until it resets it.

import type {
  Clock,
  DeviceMemory,
  Log,
  TimerHandle,
} from "../../vmm/device.ts";
import { type Field, flag, record, table, u16, u32, u8 } from "../state.ts";
import type { VirtioDevice, VirtioPort } from "./device.ts";
import { VirtqueueError } from "./errors.ts";
import { LEGACY_FEATURES, MODERN_FEATURES, VERSION_1 } from "./features.ts";
import {
  QUEUE_STATE,
  type QueueAreas,
  type QueueState,
  Virtqueue,
} from "./virtqueue.ts";

const DRIVER_OK = 0x04;
const FEATURES_OK = 0x08;
const NEEDS_RESET = 0x40;
/** Vector that stands for none. */
export const NO_VECTOR = 0xffff;
/** ISR bit: a queue was used. */
export const ISR_QUEUE = 1;
/** ISR bit: device configuration changed. */
export const ISR_CONFIG = 2;
// A hostile driver shall not fill the log: this many lines until it resets the device.
const MOST_WARNINGS = 8;

/** What a transport lends to the state. */
export interface CoreOptions {
  /** in messages */
  readonly name: string;
  /** guest memory */
  readonly memory: DeviceMemory;
  /** guest time */
  readonly clock: Clock;
  /** for messages to the operator */
  readonly log: Log;
  /** Interrupts the driver for a cause, by a vector where it uses vectors. */
  interrupt(cause: number, vector: number): void;
  /** Takes an interrupt by level back. */
  quiet(): void;
}

// The areas of a queue while a modern driver writes them, in halves.
const SETUP = {
  descriptorsLow: u32(),
  descriptorsHigh: u32(),
  availableLow: u32(),
  availableHigh: u32(),
  usedLow: u32(),
  usedHigh: u32(),
};

/** Registers of a queue's areas. */
export type SetupRegister =
  | "descriptorsLow"
  | "descriptorsHigh"
  | "availableLow"
  | "availableHigh"
  | "usedLow"
  | "usedHigh";

/** Registers and queues of a device. */
export interface CoreState {
  /** device status */
  status: number;
  /** interrupt causes that were not read yet */
  isr: number;
  /** whether the driver broke a rule: nothing is served until it resets */
  broken: boolean;
  /** whether the driver agreed to VERSION_1 */
  modern: boolean;
  /** accepted features, low half */
  featuresLow: number;
  /** accepted features, high half */
  featuresHigh: number;
  /** which half of the offered features shows */
  deviceFeatureSelect: number;
  /** which half of the accepted features shows */
  driverFeatureSelect: number;
  /** which queue the queue registers are about */
  queueSelect: number;
  /** MSI-X vector of configuration changes */
  configVector: number;
  /** MSI-X vectors of queues */
  queueVectors: number[];
  /** counts changes of device configuration */
  generation: number;
  /** areas of queues as a modern driver writes them */
  setup: Record<SetupRegister, number>[];
  /** the queues, in snapshots only */
  queues: QueueState[];
}

/** What a snapshot has of `queues` queues and their registers. */
export function coreState(queues: number): Field<CoreState> {
  return record({
    status: u8(),
    isr: u8(),
    broken: flag(),
    modern: flag(),
    featuresLow: u32(),
    featuresHigh: u32(),
    deviceFeatureSelect: u32(),
    driverFeatureSelect: u32(),
    queueSelect: u16(),
    configVector: u16(NO_VECTOR),
    queueVectors: table(u16(NO_VECTOR), queues),
    generation: u8(),
    setup: table(record(SETUP), queues),
    queues: table(QUEUE_STATE, queues),
  });
}

/** What the register layouts work on. */
export class VirtioCore implements VirtioPort {
  /** its queues, by index */
  readonly queues: readonly Virtqueue[];
  /** guest memory */
  readonly memory: DeviceMemory;
  /** registers; the layouts read and write them */
  s: CoreState;
  #warnings = 0;
  #deferred: TimerHandle | undefined;
  readonly #state: Field<CoreState>;
  readonly #options: CoreOptions;

  /** Makes the queues and connects the device. */
  constructor(readonly device: VirtioDevice, options: CoreOptions) {
    this.#options = options;
    this.memory = options.memory;
    this.queues = device.queueSizes.map((size, i) =>
      new Virtqueue(i, size, options.memory)
    );
    this.#state = coreState(this.queues.length);
    this.s = this.#state.initial();
    device.connect(this);
  }

  queue(index: number): Virtqueue {
    const queue = this.queues[index];
    if (queue === undefined) throw new RangeError(`Cannot find queue ${index}`);
    return queue;
  }

  /** The queue that the driver selected. */
  get selected(): Virtqueue | undefined {
    return this.queues[this.s.queueSelect];
  }

  // Features.

  /** What the legacy registers offer: 32 bits. */
  get legacyOffer(): number {
    const all = this.device.features | LEGACY_FEATURES;
    return Number(all & 0xffff_ffffn);
  }

  /** What the modern registers offer. */
  get modernOffer(): bigint {
    return this.device.features | MODERN_FEATURES;
  }

  /** What the driver accepted. */
  get features(): bigint {
    return BigInt(this.s.featuresHigh) << 32n | BigInt(this.s.featuresLow);
  }

  /** A legacy driver accepts features: they count at once. */
  acceptLegacy(features: number): void {
    this.s.featuresLow = (features & this.legacyOffer) >>> 0;
    this.s.featuresHigh = 0;
    this.s.modern = false;
    this.#negotiated();
  }

  /** A modern driver accepts 32 features: they count when it sets FEATURES_OK. */
  acceptModern(word: number, features: number): void {
    if ((this.s.status & FEATURES_OK) !== 0) return;
    if (word === 0) this.s.featuresLow = features;
    else if (word === 1) this.s.featuresHigh = features;
  }

  #negotiated(): void {
    for (const queue of this.queues) queue.negotiate(this.features);
    this.device.negotiated?.(this.features);
  }

  // Status.

  /** Writes device status; 0 resets the device. */
  writeStatus(status: number): void {
    if (status === 0) return this.reset();
    const kept = status | this.s.status & NEEDS_RESET;
    const asks = (kept & ~this.s.status & FEATURES_OK) !== 0;
    this.s.status = asks && !this.#agree() ? kept & ~FEATURES_OK : kept;
  }

  /** Whether the features that a modern driver accepted can be worked with. */
  #agree(): boolean {
    const { features } = this;
    const offered = (features & ~this.modernOffer) === 0n;
    if (!offered || (features & VERSION_1) === 0n) return false;
    this.s.modern = true;
    this.#negotiated();
    return true;
  }

  /** Stops the device after its driver broke a rule. */
  #fail(error: unknown): void {
    if (!(error instanceof VirtqueueError)) throw error;
    this.warn(`${error.message}; the device stops until it is reset`);
    this.s.broken = true;
    this.s.status |= NEEDS_RESET;
    if (this.s.modern) this.#options.interrupt(ISR_CONFIG, this.s.configVector);
  }

  warn(message: string): void {
    if (this.#warnings++ < MOST_WARNINGS) {
      this.#options.log.warn(`${this.#options.name}: ${message}`);
    }
  }

  // Queues.

  /** A modern driver writes half of an area's address; not while it is in use. */
  writeSetup(register: SetupRegister, value: number): void {
    const setup = this.s.setup[this.s.queueSelect];
    if (setup === undefined || this.selected?.state.ready !== false) return;
    setup[register] = value;
  }

  /** The half of an area's address that a modern driver wrote. */
  readSetup(register: SetupRegister): number {
    return this.s.setup[this.s.queueSelect]?.[register] ?? 0;
  }

  /** A modern driver takes the selected queue into use. */
  enableSelected(): void {
    const { selected } = this;
    const setup = this.s.setup[this.s.queueSelect];
    if (selected === undefined || setup === undefined || selected.state.ready) {
      return;
    }
    this.#enable(selected, {
      descriptors: joined(setup.descriptorsLow, setup.descriptorsHigh),
      available: joined(setup.availableLow, setup.availableHigh),
      used: joined(setup.usedLow, setup.usedHigh),
    });
  }

  /** Takes a queue into use. */
  enableLegacy(queue: Virtqueue, areas: QueueAreas | undefined): void {
    queue.reset();
    queue.negotiate(this.features);
    if (areas !== undefined) this.#enable(queue, areas);
  }

  #enable(queue: Virtqueue, areas: QueueAreas): void {
    try {
      queue.enable(areas);
    } catch (error) {
      queue.state.ready = false;
      this.#fail(error);
    }
  }

  /** The driver made something available. */
  notify(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined) return this.warn(`notified queue ${index}`);
    // A legacy driver may use queues before it is done with starting.
    const started = !this.s.modern || (this.s.status & DRIVER_OK) !== 0;
    if (this.s.broken || !started) return;
    try {
      if (this.device.notify(queue)) this.#defer();
      this.signal(queue);
    } catch (error) {
      this.#fail(error);
    }
  }

  #defer(): void {
    const { clock } = this.#options;
    this.#deferred ??= clock.at(clock.now(), () => {
      this.#deferred = undefined;
      for (const queue of this.queues) {
        if (queue.state.ready) this.notify(queue.index);
      }
    });
  }

  signal(queue: Virtqueue): void {
    try {
      if (!this.s.broken && queue.takeInterrupt()) {
        const vector = this.s.queueVectors[queue.index] ?? NO_VECTOR;
        this.#options.interrupt(ISR_QUEUE, vector);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  configChanged(): void {
    this.s.generation = this.s.generation + 1 & 0xff;
    if ((this.s.status & DRIVER_OK) === 0) return;
    this.#options.interrupt(ISR_CONFIG, this.s.configVector);
  }

  /** Reads interrupt causes and takes them back. */
  readIsr(): number {
    const { isr } = this.s;
    this.s.isr = 0;
    this.#options.quiet();
    return isr;
  }

  // Device configuration.

  /** Reads device configuration; beyond its end there are ones. */
  readConfig(offset: number, bytes: number): number {
    const config = this.device.config();
    let value = 0;
    for (let i = bytes - 1; i >= 0; i--) {
      value = value * 256 + (config[offset + i] ?? 0xff);
    }
    return value;
  }

  /** Writes device configuration, where the device takes it. */
  writeConfig(offset: number, bytes: number, value: number): void {
    if (offset + bytes > this.device.configLength) return;
    this.device.writeConfig?.(offset, bytes, value);
  }

  // Life.

  /** As after power-on: the driver asked for it, or the machine. */
  reset(): void {
    this.#deferred?.cancel();
    this.#deferred = undefined;
    const { generation } = this.s;
    this.s = this.#state.initial();
    this.s.generation = generation;
    this.#warnings = 0;
    for (const queue of this.queues) {
      queue.reset();
      queue.negotiate(0n);
    }
    this.device.reset();
    this.#options.quiet();
  }

  /** Registers and queues. */
  save(): CoreState {
    return { ...this.s, queues: this.queues.map((q) => q.state) };
  }

  /** Takes checked registers and queues; queues that are in use are looked at. */
  restore(state: CoreState): void {
    this.#deferred?.cancel();
    this.#deferred = undefined;
    this.s = state;
    this.queues.forEach((queue, i) => {
      const saved = state.queues[i];
      if (saved !== undefined) queue.restore(saved, this.features);
    });
    this.device.negotiated?.(this.features);
    if (this.queues.some((q) => q.state.ready)) this.#defer();
  }
}

function joined(low: number, high: number): number {
  // What a double does not hold exactly is no address of RAM.
  return high >= 2 ** 20 ? Number.MAX_SAFE_INTEGER : high * 2 ** 32 + low;
}
