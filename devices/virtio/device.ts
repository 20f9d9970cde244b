// What a virtio device says of itself and what its transport gives it. Rings, features
// of the transport, registers and interrupts are not its business.

import type { DeviceMemory, DeviceState } from "../../vmm/device.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** What a device gets from its transport. */
export interface VirtioPort {
  /** guest memory */
  readonly memory: DeviceMemory;
  /** Says what a driver did wrong, a bounded number of times. */
  warn(message: string): void;
  /** Queue `index`. */
  queue(index: number): Virtqueue;
  /** Interrupts the driver if it wants it for what was pushed to a queue. */
  signal(queue: Virtqueue): void;
  /** Tells the driver that device configuration changed. */
  configChanged(): void;
}

/** A virtio device without its transport. */
export interface VirtioDevice {
  /** emulation name, as `-s` gives it */
  readonly model: string;
  /** device type (virtio 1.2, 5), such as 2 for block */
  readonly type: number;
  /** most entries of each queue */
  readonly queueSizes: readonly number[];
  /** features of the device type: bits 0 to 23 and above 40 */
  readonly features: bigint;
  /** class code of the PCI function: 0xBBSSII */
  readonly classCode: number;
  /** bytes of device configuration */
  readonly configLength: number;
  /** Takes its port: called once, before anything else. */
  connect(port: VirtioPort): void;
  /** The bytes of device configuration now. */
  config(): Uint8Array;
  /** Takes a write of device configuration; inside of it always. */
  writeConfig?(offset: number, bytes: number, value: number): void;
  /** Takes the negotiated features. */
  negotiated?(features: bigint): void;
  /**
   * Does what a queue asks for.
   *
   * @returns true where it stopped with more to do, to be called again soon
   * @throws {VirtqueueError} where the queue is broken
   */
  notify(queue: Virtqueue): boolean;
  /** Stops and forgets what is under way. */
  reset(): void;
  /** Its own state, without queues and registers. */
  save(): DeviceState;
  /** Takes a state. */
  restore(state: DeviceState): void;
}

/**
 * Serves requests of a queue one after the other, up to a bound, so that a driver that
 * keeps adding cannot hold the machine.
 *
 * @param serve does a request; returns how many bytes it wrote
 * @returns whether there was more
 */
export function serveQueue(
  queue: Virtqueue,
  serve: (chain: NonNullable<ReturnType<Virtqueue["pop"]>>) => number,
): boolean {
  let fuel = 2 * queue.maxSize;
  do {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      queue.push(chain, serve(chain));
      if (--fuel <= 0) return queue.arm();
    }
  } while (queue.arm());
  return false;
}
