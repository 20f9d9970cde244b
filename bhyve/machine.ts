// A machine's devices put together: buses, interrupt controllers, PCI, chipset, firmware
// tables. They are all in one thread, that of vCPU 0; other vCPUs reach them by calls.

import { Chipset } from "../devices/lpc/chipset.ts";
import type { PciDevice, PciLocation } from "../devices/pci/device.ts";
import { PciHost } from "../devices/pci/host.ts";
import { bhyveWindows } from "../devices/pci/windows.ts";
import { createDevice } from "../devices/registry.ts";
import type { CharBackend } from "../devices/uart/char_backend.ts";
import { COM_PORTS, type ComName } from "../devices/uart/com_port.ts";
import { Bus } from "../vmm/bus.ts";
import type { ConfigNode } from "../vmm/config.ts";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import type { Lifecycle, Log } from "../vmm/device.ts";
import { Interrupts, PostedInterrupts } from "../vmm/platform/mod.ts";
import type { ApicEvent, ApicTarget, GuestClock } from "../vmm/platform/mod.ts";
import { type Board, MACHINE_FLAG } from "./board.ts";
import { ChannelBackend } from "./char_channel.ts";
import { DeviceAccess } from "./device_access.ts";
import { firmwareTables } from "./firmware.ts";
import { GuestRam } from "./guest_ram.ts";
import type { MachineSettings } from "./machine_settings.ts";
import type { MachinePlan } from "./plan.ts";

/** What a machine's devices are made from. */
export interface MachineOptions {
  readonly plan: MachinePlan;
  readonly config: ConfigNode;
  readonly settings: MachineSettings;
  readonly memory: GuestMemory;
  readonly clock: GuestClock;
  readonly board: Board;
  /** local APICs of the vCPUs from 1 on, in their threads */
  readonly others: readonly ApicTarget[];
  readonly log: Log;
  /** vCPU 0 should look at its interrupts. */
  attend(): void;
  /** A non-maskable interrupt for vCPU 0. */
  nmi(): void;
  /** Something of vCPU 0's local APIC is counted. */
  counted(event: ApicEvent, source?: number): void;
}

/** A machine's devices. */
export class Machine {
  readonly ram: GuestRam;
  readonly interrupts: Interrupts;
  readonly pci: PciHost;
  readonly chipset: Chipset;
  /** the devices by address */
  readonly access: DeviceAccess;
  readonly #options: MachineOptions;
  readonly #ports = new Bus("port");
  readonly #memoryBus = new Bus("memory");
  readonly #devices: Lifecycle[] = [];
  readonly #chars = new Map<string, ChannelBackend>();

  /** @throws {Error} where a device cannot be made from its configuration */
  constructor(options: MachineOptions) {
    this.#options = options;
    const { plan, memory, board, others, settings } = options;
    this.ram = new GuestRam(memory);
    this.ram.onWritten((offset, length) => memory.dropCode(offset, length));
    this.interrupts = this.#makeInterrupts();
    this.access = new DeviceAccess({
      ports: this.#ports,
      memory: this.#memoryBus,
      board,
      vcpus: others.length + 1,
      strictIo: settings.strictIo,
      acknowledge: () => this.interrupts.pic.acknowledge(),
    });
    this.pci = new PciHost({
      ports: this.#ports,
      memory: this.#memoryBus,
      interrupts: this.interrupts,
      msi: this.interrupts.msi,
      windows: bhyveWindows(plan.highmem),
      bootRom: false,
    });
    this.chipset = this.#makeChipset();
    this.#addDevices();
    if (plan.rtc !== null) this.interrupts.rtc.restore(plan.rtc);
    this.#writeTables(settings);
  }

  #makeInterrupts(): Interrupts {
    const { clock, settings, board, others } = this.#options;
    const zone = settings.localTime ? new Date().getTimezoneOffset() * 60 : 0;
    return new Interrupts({
      vcpus: 1,
      others,
      words: [new PostedInterrupts(board.postedWords(0))],
      times: board.times,
      ports: this.#ports,
      memory: this.#memoryBus,
      clock,
      wallClock: () => Date.now() / 1000 - zone,
      attend: () => this.#options.attend(),
      nmi: () => this.#options.nmi(),
      counted: (_vcpu, event, source) => this.#options.counted(event, source),
      intrChanged: (level) => board.set(MACHINE_FLAG.INTR, level),
    });
  }

  #makeChipset(): Chipset {
    const { config, board } = this.#options;
    const names = Object.keys(COM_PORTS) as ComName[];
    const backends = names.map((name) => {
      const path = config.get(`lpc.${name}.path`);
      return [name, path === undefined ? undefined : this.#openChar(path)];
    });
    return new Chipset({
      ports: this.#ports,
      interrupts: this.interrupts,
      pci: this.pci,
      lpc: pciNodes(config).some(({ node }) => node.get("device") === "lpc"),
      backends: Object.fromEntries(backends.filter(([, b]) => b !== undefined)),
      events: {
        reset: () => board.suspendOnce(SUSPEND.RESET),
        powerOff: () => board.suspendOnce(SUSPEND.POWEROFF),
        acpiChanged: (enabled) => board.set(MACHINE_FLAG.ACPI, enabled),
      },
    });
  }

  // Two devices with one text share the backend, as they would share the terminal.
  #openChar(path: string): CharBackend {
    const known = this.#chars.get(path);
    if (known !== undefined) return known;
    const buffer = this.#options.plan.chars[path];
    if (buffer === undefined) {
      throw new Error(`Cannot use TTY backend "${path}": it was not opened`);
    }
    const backend = new ChannelBackend(buffer);
    this.#chars.set(path, backend);
    return backend;
  }

  #addDevices(): void {
    for (const { location, node } of pciNodes(this.#options.config)) {
      const device = this.#createDevice(location, node);
      this.pci.add(location, device);
      this.#devices.push(device);
    }
    this.pci.finish();
  }

  #createDevice(location: PciLocation, node: ConfigNode): PciDevice {
    const { clock, log, settings } = this.#options;
    return createDevice(node.get("device") ?? "", {
      location,
      node,
      memory: this.ram,
      clock,
      log,
      pirq: this.pci.pirq,
      virtioMsix: settings.virtioMsix,
      openChar: (path) => this.#openChar(path),
    });
  }

  #writeTables(settings: MachineSettings): void {
    const { plan, config } = this.#options;
    for (
      const { gpa, bytes } of firmwareTables(plan, config, this.pci, settings)
    ) {
      this.ram.view(gpa, bytes.length)!.set(bytes);
      this.ram.written(gpa, bytes.length);
    }
  }

  // --- What other threads want ---------------------------------------------

  /**
   * Looks at what other threads left: calls, ends of interrupts, input.
   *
   * @returns whether another vCPU waited for an answer
   */
  poll(): boolean {
    const { board } = this.#options;
    const hasAnswered = this.access.answerCalls();
    board.takeEnds((vector) => this.interrupts.ioapic.endOfInterrupt(vector));
    for (const backend of this.#chars.values()) backend.poll();
    if (
      board.has(MACHINE_FLAG.POWER_BUTTON) &&
      board.set(MACHINE_FLAG.POWER_BUTTON, false)
    ) this.chipset.acpi.pressPowerButton();
    return hasAnswered;
  }
}

/** The PCI functions of a configuration, by place. */
export function pciNodes(
  config: ConfigNode,
): { readonly location: PciLocation; readonly node: ConfigNode }[] {
  const found = (config.find("pci")?.nodes ?? []).flatMap((bus) =>
    bus.nodes.flatMap((slot) =>
      slot.nodes.filter((node) => node.get("device") !== undefined)
        .map((node) => ({
          location: {
            bus: Number(bus.name),
            slot: Number(slot.name),
            func: Number(node.name),
          },
          node,
        }))
    )
  );
  const key = ({ bus, slot, func }: PciLocation) => bus << 8 | slot << 3 | func;
  return found.sort((a, b) => key(a.location) - key(b.location));
}
