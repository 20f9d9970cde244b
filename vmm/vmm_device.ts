// A machine's device file, `/dev/vmm/NAME`, as its users see it.

import type { VmIn, VmOut, VmRequest } from "./ioctl.ts";

/** All of a machine's memory, in this process. */
export interface MappedMemory {
  /** bytes of RAM from 0 */
  readonly lowmem: number;
  /** bytes of RAM from 4 GiB */
  readonly highmem: number;
  /** A view of RAM at a guest-physical address; undefined where it is not all RAM. */
  view(gpa: number, length: number): Uint8Array | undefined;
}

/**
 * An open machine. Whether it rests on disk or runs in another process makes no
 * difference to the caller, and may change between two requests.
 */
export interface VmmDevice {
  /** the machine's name */
  readonly name: string;

  /**
   * Does one request.
   *
   * @throws {VmmError} with the errno that vmm(4) gives
   */
  ioctl<R extends VmRequest>(request: R, payload: VmIn<R>): Promise<VmOut<R>>;

  /**
   * Reads guest-physical memory; what is mapped nowhere below the end of RAM reads as
   * zeros.
   *
   * @throws {VmmError} EFAULT beyond the end of memory
   */
  read(gpa: bigint, length: number): Promise<Uint8Array>;

  /** Writes guest-physical memory. @throws {VmmError} EFAULT outside RAM */
  write(gpa: bigint, bytes: Uint8Array): Promise<void>;

  /**
   * Maps the memory of a machine at rest into this process. What is written there
   * belongs to the machine from `close` on; nobody else can use the machine until then.
   *
   * @throws {VmmError} EBUSY while the machine runs in another process
   */
  mapMemory(): Promise<MappedMemory>;

  /**
   * Lets go of the machine, which stays as it was before `mapMemory`: what was done
   * since is forgotten.
   */
  abandon(): Promise<void>;

  /** Lets go of the machine, which stays. */
  close(): Promise<void>;
}
