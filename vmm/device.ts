// What a device is given and what it must offer: the interfaces between the
// platform, the device models and the machine. No device knows another, or a CPU.

/** A level- or edge-triggered interrupt input of a controller. */
export interface IrqLine {
  /** Drives the line. */
  set(level: boolean): void;
  /** Asserts and deasserts the line: an edge. */
  pulse(): void;
}

/** Where message-signalled interrupts go. */
export interface MsiSink {
  /** Delivers a message: address in 0xFEExxxxx, data. */
  raise(address: number, data: number): void;
}

/** A timer that was scheduled. */
export interface TimerHandle {
  /** Takes it back; nothing happens where it fired already. */
  cancel(): void;
}

/** Guest time: nanoseconds since the machine was made, stopped while it is. */
export interface Clock {
  /** Nanoseconds, as a number: exact for 104 days. */
  now(): number;
  /** Calls `fire` at or soon after a time. */
  at(nanoseconds: number, fire: () => void): TimerHandle;
}

/** Guest-physical memory as devices use it. */
export interface DeviceMemory {
  /**
   * A view of `length` bytes of RAM at a guest-physical address, or undefined
   * where they are not all RAM and contiguous. Never keep it across calls.
   */
  view(gpa: number, length: number): Uint8Array | undefined;
  /** Tells that bytes were written, so that code decoded from them is dropped. */
  written(gpa: number, length: number): void;
}

/** A device's state for a snapshot: plain data with its kind and version. */
export interface DeviceState {
  /** what it is the state of */
  readonly kind: string;
  /** version of the layout */
  readonly version: number;
}

/** What every device offers the machine. */
export interface Lifecycle {
  /** Its name in messages and snapshots, such as `virtio-blk@4`. */
  readonly name: string;
  /** Puts it into its state after power-on. */
  reset(): void;
  /** Its state. */
  save(): DeviceState;
  /** Puts it into a state. @throws {Error} for one that is not its own */
  restore(state: DeviceState): void;
}

/** Where messages for the operator go. */
export interface Log {
  /** Says something once a line, without a newline at its end. */
  warn(message: string): void;
}
