// The virtio entropy device (virtio 1.2, 5.4): each request is filled with random bytes
// of the host.

import type { DeviceState } from "../../vmm/device.ts";
import { StateSchema } from "../state.ts";
import { serveQueue, type VirtioDevice } from "./device.ts";
import type { Virtqueue } from "./virtqueue.ts";

const QUEUE_SIZE = 64;
// One call of the host's generator gives so much; a larger request gets this much.
const MOST_BYTES = 65536;
const SCHEMA = new StateSchema("virtio-rnd", 1, {});

/** Fills bytes with random ones. */
export type RandomSource = (target: Uint8Array) => void;

function hostRandom(target: Uint8Array): void {
  crypto.getRandomValues(target as Uint8Array<ArrayBuffer>);
}

/** The `virtio-rnd` emulation without its transport. */
export class VirtioRnd implements VirtioDevice {
  readonly model = "virtio-rnd";
  readonly type = 4;
  readonly classCode = 0x10_00_00;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE];
  readonly features = 0n;
  readonly configLength = 0;
  readonly #random: RandomSource;

  /**
   * Makes an entropy device.
   *
   * @param random default: the host's generator
   */
  constructor(random: RandomSource = hostRandom) {
    this.#random = random;
  }

  connect(): void {
    // Requests come with their queue; nothing is sent on its own.
  }

  config(): Uint8Array {
    return new Uint8Array(0);
  }

  notify(queue: Virtqueue): boolean {
    return serveQueue(
      queue,
      (chain) => chain.writer().fill(MOST_BYTES, this.#random),
    );
  }

  reset(): void {
    // It has no state.
  }

  save(): DeviceState {
    return SCHEMA.save({});
  }

  restore(state: DeviceState): void {
    SCHEMA.restore(state);
  }
}
