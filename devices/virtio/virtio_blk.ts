// The virtio block device (virtio 1.2, 5.2) on a block backend: reading, writing,
// flushing, identification and discarding, in requests framed in any way. Offers RO for
// a read-only backend, which bhyve leaves out.

import type { DeviceState } from "../../vmm/device.ts";
import { type BlockBackend, BlockError } from "../block/backend.ts";
import { StateSchema } from "../state.ts";
import type { Chain, SegmentCursor } from "./chain.ts";
import { serveQueue, type VirtioDevice, type VirtioPort } from "./device.ts";
import type { Virtqueue } from "./virtqueue.ts";

const SECTOR = 512;
const QUEUE_SIZE = 128;
const HEADER_BYTES = 16;
const SEGMENTS = 126;
const ID_BYTES = 20;
const MOST_DISCARD = 32768;
const CONFIG_BYTES = 60;
const DISCARD_BYTES = 16;

const F_SEG_MAX = 1n << 2n;
const F_RO = 1n << 5n;
const F_BLK_SIZE = 1n << 6n;
const F_FLUSH = 1n << 9n;
const F_TOPOLOGY = 1n << 10n;
const F_DISCARD = 1n << 13n;

const BARRIER = 0x8000_0000;
const OK = 0;
const IO_ERROR = 1;
const UNSUPPORTED = 2;

// What is kept in a snapshot: nothing, requests are done when they are taken.
const SCHEMA = new StateSchema("virtio-blk", 1, {});

/** A request with its ends. */
interface Request {
  /** first sector of 512 bytes */
  readonly sector: bigint;
  /** what the driver gave after the header */
  readonly input: SegmentCursor;
  /** what the driver wants before the status */
  readonly output: SegmentCursor;
  /** bytes of `output` */
  readonly room: number;
}

/** How a request ended, and how many bytes were written. */
interface Outcome {
  readonly status: number;
  readonly written: number;
}

const done = (written = 0): Outcome => ({ status: OK, written });
const failed = (status: number): Outcome => ({ status, written: 0 });

/** What a device is made from. */
export interface VirtioBlkOptions {
  /** the disk's contents */
  readonly backend: BlockBackend;
  /** up to 20 characters */
  readonly serial: string;
}

/** The `virtio-blk` emulation without its transport. */
export class VirtioBlk implements VirtioDevice {
  readonly model = "virtio-blk";
  readonly type = 2;
  readonly classCode = 0x01_00_00;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE];
  readonly configLength: number = CONFIG_BYTES;
  readonly features: bigint;
  readonly #backend: BlockBackend;
  readonly #serial: Uint8Array;
  #port: VirtioPort | undefined;

  /** Makes a block device. */
  constructor({ backend, serial }: VirtioBlkOptions) {
    this.#backend = backend;
    this.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY |
      (backend.readOnly ? F_RO : 0n) |
      (backend.canDiscard ? F_DISCARD : 0n);
    this.#serial = new Uint8Array(ID_BYTES);
    this.#serial.set(new TextEncoder().encode(serial).subarray(0, ID_BYTES));
  }

  connect(port: VirtioPort): void {
    this.#port = port;
    this.#backend.onResize(() => port.configChanged());
  }

  config(): Uint8Array {
    const { size, sectorSize, physicalSectorSize, canDiscard } = this.#backend;
    const bytes = new Uint8Array(CONFIG_BYTES);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0x00, BigInt(Math.floor(size / SECTOR)), true);
    view.setUint32(0x0c, SEGMENTS, true);
    view.setUint32(0x14, sectorSize, true);
    view.setUint8(0x18, Math.log2(physicalSectorSize / sectorSize));
    view.setUint16(0x22, 1, true);
    if (!canDiscard) return bytes;
    view.setUint32(0x24, MOST_DISCARD, true);
    view.setUint32(0x28, 1, true);
    view.setUint32(0x2c, sectorSize / SECTOR, true);
    return bytes;
  }

  notify(queue: Virtqueue): boolean {
    return serveQueue(queue, (chain) => this.#serve(chain));
  }

  /** Does a request. @returns the bytes written, the status with them */
  #serve(chain: Chain): number {
    const input = chain.reader();
    const output = chain.writer();
    const room = output.remaining - 1;
    const header = new Uint8Array(HEADER_BYTES);
    const complete = input.read(header) === HEADER_BYTES;
    if (room < 0) {
      this.#port?.warn("request without room for a status");
      return 0;
    }
    const { status, written } = complete
      ? this.#perform(header, { input, output, room })
      : failed(IO_ERROR);
    // The status is the last byte, wherever the data ended.
    output.skip(output.remaining - 1);
    output.write(Uint8Array.of(status));
    return status === OK ? written + 1 : 1;
  }

  #perform(
    header: Uint8Array,
    rest: Pick<Request, "input" | "output" | "room">,
  ): Outcome {
    const view = new DataView(header.buffer);
    const type = (view.getUint32(0, true) & ~BARRIER) >>> 0;
    const act = this.#actions.get(type);
    if (act === undefined) return failed(UNSUPPORTED);
    try {
      return act({ sector: view.getBigUint64(8, true), ...rest });
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      return failed(IO_ERROR);
    }
  }

  // Requests by type; 5 is the legacy flush of what went out before.
  readonly #actions = new Map<number, (request: Request) => Outcome>([
    [0, (r) => this.#read(r)],
    [1, (r) => this.#write(r)],
    [4, () => this.#flush()],
    [5, () => this.#flush()],
    [8, (r) => this.#identify(r)],
    [11, (r) => this.#discard(r)],
  ]);

  /** Where a transfer of `length` bytes starts, or undefined where it may not be. */
  #place(sector: bigint, length: number): number | undefined {
    const end = sector * BigInt(SECTOR) + BigInt(length);
    const fits = length % SECTOR === 0 && end <= BigInt(this.#backend.size);
    return fits ? Number(sector) * SECTOR : undefined;
  }

  #read({ sector, output, room }: Request): Outcome {
    const start = this.#place(sector, room);
    if (start === undefined) return failed(IO_ERROR);
    let written = 0;
    output.fill(room, (target) => {
      this.#backend.read(start + written, target);
      written += target.length;
    });
    return done(written);
  }

  #write({ sector, input }: Request): Outcome {
    const start = this.#place(sector, input.remaining);
    if (start === undefined) return failed(IO_ERROR);
    let at = start;
    input.advance(input.remaining, (source) => {
      this.#backend.write(at, source);
      at += source.length;
    });
    return done();
  }

  #flush(): Outcome {
    this.#backend.flush();
    return done();
  }

  #identify({ output, room }: Request): Outcome {
    return done(
      output.write(this.#serial.subarray(0, Math.min(room, ID_BYTES))),
    );
  }

  #discard({ input }: Request): Outcome {
    const segment = new Uint8Array(DISCARD_BYTES);
    const length = input.remaining;
    if (!this.#backend.canDiscard) return failed(UNSUPPORTED);
    if (length !== DISCARD_BYTES) return failed(IO_ERROR);
    input.read(segment);
    const view = new DataView(segment.buffer);
    const sectors = view.getUint32(8, true);
    if (view.getUint32(12, true) !== 0) return failed(UNSUPPORTED);
    const at = this.#place(view.getBigUint64(0, true), sectors * SECTOR);
    if (at === undefined || sectors > MOST_DISCARD) return failed(IO_ERROR);
    this.#backend.discard(at, sectors * SECTOR);
    return done();
  }

  reset(): void {
    // Requests are done when they are taken: none is under way.
  }

  save(): DeviceState {
    return SCHEMA.save({});
  }

  restore(state: DeviceState): void {
    SCHEMA.restore(state);
  }
}
