// Stand-ins for what a machine gives its devices, for unit tests: memory, interrupt
// inputs, a message sink, a clock that tests move, a log that they read.

import type {
  Clock,
  DeviceMemory,
  IrqLine,
  Log,
  MsiSink,
} from "../vmm/device.ts";
import type { InterruptInputs } from "./pci/intx.ts";

/** RAM from address 0 that remembers which ranges devices wrote. */
export class TestMemory implements DeviceMemory {
  readonly bytes: Uint8Array;
  readonly data: DataView;
  /** what was told to be written: address and length */
  readonly writes: [number, number][] = [];

  constructor(size = 1 << 20) {
    this.bytes = new Uint8Array(new SharedArrayBuffer(size));
    this.data = new DataView(this.bytes.buffer);
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    return gpa + length <= this.bytes.length
      ? this.bytes.subarray(gpa, gpa + length)
      : undefined;
  }

  written(gpa: number, length: number): void {
    this.writes.push([gpa, length]);
  }
}

/** An interrupt input that counts. */
export class TestLine implements IrqLine {
  level = false;
  rises = 0;
  pulses = 0;

  set(level: boolean): void {
    if (level && !this.level) this.rises++;
    this.level = level;
  }

  pulse(): void {
    this.pulses++;
  }
}

/** Every interrupt input of a machine, by kind and number. */
export class TestInterrupts implements InterruptInputs, MsiSink {
  readonly lines = new Map<string, TestLine>();
  /** messages that were sent: address and data */
  readonly messages: [number, number][] = [];
  readonly levelTriggered = new Set<number>();
  readonly pic = {
    setTrigger: (irq: number, isLevel: boolean) => {
      if (isLevel) this.levelTriggered.add(irq);
      else this.levelTriggered.delete(irq);
    },
  };

  #line(name: string): TestLine {
    const line = this.lines.get(name) ?? new TestLine();
    this.lines.set(name, line);
    return line;
  }

  picIrq(irq: number): TestLine {
    return this.#line(`pic${irq}`);
  }

  ioapicPin(pin: number): TestLine {
    return this.#line(`ioapic${pin}`);
  }

  isaIrq(irq: number): TestLine {
    return this.#line(`isa${irq}`);
  }

  raise(address: number, data: number): void {
    this.messages.push([address, data]);
  }

  /** The names of the lines that are up. */
  get up(): string[] {
    return [...this.lines].filter(([, l]) => l.level).map(([n]) => n).sort();
  }
}

/** Guest time that a test moves. */
export class TestClock implements Clock {
  #now = 0;
  #timers: { at: number; fire: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  at(nanoseconds: number, fire: () => void): { cancel(): void } {
    const timer = { at: nanoseconds, fire };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((t) => t !== timer);
      },
    };
  }

  /** Lets time pass. */
  advance(nanoseconds: number): void {
    this.#now += nanoseconds;
    const due = this.#timers.filter((t) => t.at <= this.#now);
    this.#timers = this.#timers.filter((t) => t.at > this.#now);
    for (const timer of due) timer.fire();
  }
}

/** A log that keeps its lines. */
export class TestLog implements Log {
  readonly lines: string[] = [];

  warn(message: string): void {
    this.lines.push(message);
  }
}
