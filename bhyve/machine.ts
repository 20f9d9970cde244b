// A machine put together: memory, one processor, platform, PCI devices, firmware
// tables; and its loop, which runs the processor and sleeps while it is halted.

import { LpcBridge } from "../devices/lpc/bridge.ts";
import { Chipset } from "../devices/lpc/chipset.ts";
import type { PciDevice, PciLocation } from "../devices/pci/device.ts";
import { PciHost } from "../devices/pci/host.ts";
import { bhyveWindows } from "../devices/pci/windows.ts";
import type { CharBackend } from "../devices/uart/char_backend.ts";
import type { ComName } from "../devices/uart/com_port.ts";
import { Bus } from "../vmm/bus.ts";
import { type DeviceBus, VirtualCpu } from "../vmm/cpu/cpu.ts";
import { EXIT_CODE, SUSPEND, type VmEntry } from "../vmm/cpu/exits.ts";
import { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import type { Lifecycle, Log } from "../vmm/device.ts";
import { acpiInMemory } from "../vmm/firmware/acpi/mod.ts";
import {
  type MachineDescription,
  PLATFORM,
  type Window,
} from "../vmm/firmware/description.ts";
import { mptable } from "../vmm/firmware/mptable.ts";
import { parseUuid, smbios } from "../vmm/firmware/smbios.ts";
import { applyStart, type StartState } from "../vmm/loader/start.ts";
import { GuestClock } from "../vmm/platform/clock.ts";
import { Interrupts } from "../vmm/platform/interrupts.ts";
import type { LocalApic } from "../vmm/platform/local_apic.ts";
import { GuestRam } from "./guest_ram.ts";

/** RAM below 4 GiB ends here at most (`vmm(4)`'s lowmem limit). */
const LOWMEM_LIMIT = 3 * 2 ** 30;
const HIGHMEM_BASE = 4 * 2 ** 30;
/** Longest sleep of a halted machine, so that it looks at its host now and then. */
const LONGEST_SLEEP_MS = 1000;
const NS_PER_MS = 1e6;
const RFLAGS_IF = 0x200n;
const MSR_APIC_BASE = 0x1b;
const MSR_TSC_DEADLINE = 0x6e0;
const MSR_X2APIC = 0x800;
const MSR_X2APIC_LAST = 0xbff;

/** Why a machine stopped: `enum vm_suspend_how`. */
export type SuspendReason = (typeof SUSPEND)[keyof typeof SUSPEND];

/** A device and where it is. */
export interface PlacedDevice {
  readonly location: PciLocation;
  /** makes the device on a machine */
  readonly make: (parts: MachineParts) => PciDevice;
}

/** What a device may be made from. */
export interface MachineParts {
  readonly ram: GuestRam;
  readonly clock: GuestClock;
  readonly log: Log;
}

/** What a machine is made from. */
export interface MachineOptions {
  /** bytes of RAM, a multiple of 1 MiB */
  readonly memory: number;
  /** UUID for SMBIOS, as text */
  readonly uuid: string;
  /** devices besides the platform's own */
  readonly devices: readonly PlacedDevice[];
  /** slot of the LPC bridge on bus 0; none without */
  readonly lpcSlot?: number;
  /** what COM ports are connected to */
  readonly backends?: Readonly<Partial<Record<ComName, CharBackend>>>;
  /** seconds since 1970 in the zone that the guest sees */
  readonly wallClock: () => number;
  readonly log: Log;
  /** called between instructions, at least every few hundred microseconds of work */
  readonly poll: () => void;
  /** waits for the host or for a time, while the machine is halted */
  readonly sleep: (milliseconds: number) => void;
}

/** A machine with one processor. */
export class Machine {
  readonly ram: GuestRam;
  readonly clock: GuestClock;
  readonly interrupts: Interrupts;
  readonly pci: PciHost;
  readonly chipset: Chipset;
  readonly cpu: VirtualCpu;
  readonly lowmem: number;
  readonly highmem: number;
  readonly #options: MachineOptions;
  readonly #ports = new Bus("port");
  readonly #memoryBus = new Bus("memory");
  readonly #devices: Lifecycle[] = [];
  #suspended: SuspendReason = SUSPEND.NONE;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.lowmem = Math.min(options.memory, LOWMEM_LIMIT);
    this.highmem = options.memory - this.lowmem;
    const memory = this.#makeMemory();
    this.ram = new GuestRam(memory);
    this.clock = new GuestClock(() => performance.now() * NS_PER_MS);
    this.interrupts = new Interrupts({
      vcpus: 1,
      ports: this.#ports,
      memory: this.#memoryBus,
      clock: this.clock,
      wallClock: options.wallClock,
      attend: () => this.cpu.attend(),
      nmi: () => this.cpu.injectNmi(),
    });
    this.cpu = this.#makeCpu(memory);
    this.ram.onWritten((offset, length) => memory.dropCode(offset, length));
    this.pci = new PciHost({
      ports: this.#ports,
      memory: this.#memoryBus,
      interrupts: this.interrupts,
      msi: this.interrupts.msi,
      windows: bhyveWindows(this.highmem),
      bootRom: false,
    });
    this.chipset = this.#makeChipset();
    this.#addDevices();
  }

  #makeMemory(): GuestMemory {
    const { lowmem, highmem } = this;
    const memory = new GuestMemory(lowmem + highmem);
    memory.map({ gpa: 0, length: lowmem, offset: 0, writable: true });
    if (highmem > 0) {
      memory.map({
        gpa: HIGHMEM_BASE,
        length: highmem,
        offset: lowmem,
        writable: true,
      });
    }
    return memory;
  }

  #makeCpu(memory: GuestMemory): VirtualCpu {
    const { interrupts, clock } = this;
    const lapic = interrupts.lapics[0]!;
    const poll = () => {
      clock.runDue();
      this.#options.poll();
    };
    return new VirtualCpu({
      memory,
      bus: this.#deviceBus(),
      readTsc: () => BigInt(Math.floor(clock.now())),
      interrupts: {
        pending: () => lapic.pending(),
        acknowledge: () => lapic.acknowledge(),
        get taskPriority() {
          return lapic.taskPriority;
        },
        set taskPriority(value: number) {
          lapic.taskPriority = value;
        },
      },
      poll,
    });
  }

  #deviceBus(): DeviceBus {
    const ones = (bytes: number) => 2 ** (8 * bytes) - 1;
    const lapic = this.interrupts.lapics[0]!;
    return {
      readPort: (port, bytes) => {
        const range = this.#ports.find(port, bytes);
        if (range === undefined) return ones(bytes);
        return Number(range.handler.read(port - range.start, bytes));
      },
      writePort: (port, bytes, value) => {
        const range = this.#ports.find(port, bytes);
        range?.handler.write(port - range.start, bytes, BigInt(value));
        return true;
      },
      readMemory: (gpa, bytes) => {
        const range = this.#memoryBus.find(gpa, bytes);
        if (range === undefined) return (1n << BigInt(8 * bytes)) - 1n;
        return BigInt(range.handler.read(gpa - range.start, bytes));
      },
      writeMemory: (gpa, bytes, value) => {
        const range = this.#memoryBus.find(gpa, bytes);
        range?.handler.write(gpa - range.start, bytes, value);
        return true;
      },
      readMsr: (index) => readApicMsr(lapic, index),
      writeMsr: (index, value) => writeApicMsr(lapic, index, value),
    };
  }

  #makeChipset(): Chipset {
    return new Chipset({
      ports: this.#ports,
      interrupts: this.interrupts,
      pci: this.pci,
      lpc: this.#options.lpcSlot !== undefined,
      backends: this.#options.backends ?? {},
      events: {
        reset: () => this.suspend(SUSPEND.RESET),
        powerOff: () => this.suspend(SUSPEND.POWEROFF),
      },
    });
  }

  #addDevices(): void {
    const { devices, lpcSlot, log } = this.#options;
    const { ram, clock } = this;
    for (const { location, make } of devices) {
      const device = make({ ram, clock, log });
      this.pci.add(location, device);
      this.#devices.push(device);
    }
    if (lpcSlot !== undefined) {
      const bridge = new LpcBridge(this.pci.pirq);
      this.pci.add({ bus: 0, slot: lpcSlot, func: 0 }, bridge);
      this.#devices.push(bridge);
    }
    this.pci.finish();
  }

  // --- Firmware ------------------------------------------------------------

  /** What the firmware tables tell the guest. */
  describe(): MachineDescription {
    const { lpcSlot } = this.#options;
    return {
      vcpus: 1,
      lowmem: this.lowmem,
      highmem: this.highmem,
      buses: this.pci.buses.map((number) => {
        const windows = this.pci.busWindows(number);
        const window = (w?: { base: number; limit: number }): Window => ({
          start: w?.base ?? 0,
          length: w === undefined ? 0 : w.limit - w.base,
        });
        return {
          number,
          io: window(windows?.io),
          memory32: window(windows?.mem32),
          memory64: window(windows?.mem64),
          interrupts: this.pci.intxRoutes.filter((r) => r.bus === number).map(
            (r) => ({
              slot: r.slot,
              pin: r.pin - 1,
              pirq: r.pirq,
              gsi: r.ioapicPin,
            }),
          ),
        };
      }),
      ...(lpcSlot === undefined ? {} : { lpcSlot }),
    };
  }

  /** Writes the MP, SMBIOS and ACPI tables into memory. */
  writeTables(): void {
    const machine = this.describe();
    const put = (gpa: number, bytes: Uint8Array) => {
      this.ram.view(gpa, bytes.length)!.set(bytes);
      this.ram.written(gpa, bytes.length);
    };
    put(PLATFORM.MPTABLE, mptable(machine));
    const uuid = parseUuid(this.#options.uuid);
    const topology = { sockets: 1, cores: 1, threads: 1 };
    put(PLATFORM.SMBIOS, smbios(machine, { uuid, ...topology }));
    for (const { gpa, bytes } of acpiInMemory(machine)) put(gpa, bytes);
  }

  /** Puts the processor where a loader left it. */
  start(state: StartState): void {
    applyStart(this.cpu, state);
  }

  // --- Running -------------------------------------------------------------

  /** Suspends the machine; the first reason counts. */
  suspend(how: SuspendReason): void {
    if (this.#suspended === SUSPEND.NONE) this.#suspended = how;
    this.cpu.requestStop();
  }

  /** Presses the power button; answers whether the guest listens to it. */
  pressPowerButton(): boolean {
    return this.chipset.acpi.pressPowerButton();
  }

  /** Runs until the machine is suspended. */
  run(): SuspendReason {
    let entry: VmEntry | undefined;
    while (this.#suspended === SUSPEND.NONE) {
      const exit = this.cpu.run(entry);
      entry = undefined;
      switch (exit.code) {
        case EXIT_CODE.HLT:
          this.#halt(exit.rflags);
          break;
        case EXIT_CODE.SUSPENDED:
          this.suspend(exit.how);
          break;
        case EXIT_CODE.RDMSR:
        case EXIT_CODE.WRMSR:
          // Unknown registers fault, as with `x86.strictmsr`.
          entry = { fault: true };
          break;
        case EXIT_CODE.REQIDLE:
        case EXIT_CODE.PAUSE:
          break;
        default:
          throw new MachineError(
            `Cannot handle exit ${exit.code} at RIP 0x${exit.rip.toString(16)}`,
          );
      }
    }
    return this.#suspended;
  }

  // Sleeps until something may have happened.
  #halt(rflags: bigint): void {
    if ((rflags & RFLAGS_IF) === 0n) {
      this.suspend(SUSPEND.HALT);
      return;
    }
    const lapic = this.interrupts.lapics[0]!;
    while (this.#suspended === SUSPEND.NONE) {
      this.clock.runDue();
      this.#options.poll();
      if (lapic.pending()) return;
      const deadline = this.clock.nextDeadline();
      const wait = deadline === undefined
        ? LONGEST_SLEEP_MS
        : (deadline - this.clock.now()) / NS_PER_MS;
      if (wait > 0) this.#options.sleep(Math.min(wait, LONGEST_SLEEP_MS));
    }
  }
}

function isApicMsr(index: number): boolean {
  return index === MSR_TSC_DEADLINE ||
    (index >= MSR_X2APIC && index <= MSR_X2APIC_LAST);
}

function readApicMsr(lapic: LocalApic, index: number): bigint | undefined {
  if (index === MSR_APIC_BASE) return lapic.base;
  return isApicMsr(index) ? lapic.readMsr(index) : undefined;
}

function writeApicMsr(
  lapic: LocalApic,
  index: number,
  value: bigint,
): "done" | "fault" | "unknown" {
  if (index !== MSR_APIC_BASE && !isApicMsr(index)) return "unknown";
  const isDone = index === MSR_APIC_BASE
    ? lapic.setBase(value)
    : lapic.writeMsr(index, value);
  return isDone ? "done" : "fault";
}

/** The machine cannot go on. */
export class MachineError extends Error {
  /** the class, for messages */
  override readonly name = "MachineError";
}
