// The PCI host: up to 256 buses of functions with no bridges between them, their
// addresses and their interrupt routes. Machines read from it what the ACPI and MP
// tables tell guests (platform.md sections 4, 5 and 13).

import type { Bus, BusHandler } from "../../vmm/bus.ts";
import type { DeviceState, Lifecycle, MsiSink } from "../../vmm/device.ts";
import { BarMapper } from "./bars.ts";
import { ConfigPorts, ecamHandler } from "./config_access.ts";
import { locationText, type PciDevice, type PciLocation } from "./device.ts";
import { type FunctionHost, PciFunction } from "./function.ts";
import { type InterruptInputs, type IntxRoute, IntxRouter } from "./intx.ts";
import { PirqRouter } from "./pirq.ts";
import * as R from "./registers.ts";
import { type PciWindows, WindowAllocator } from "./windows.ts";

/** First port of configuration mechanism 1. */
export const CONFIG_PORTS = 0xcf8;
/** Where configuration space is memory, and how much: 256 buses of 1 MiB. */
export const ECAM_BASE = 0xe000_0000;
/** Length of the ECAM range. */
export const ECAM_LENGTH = 0x1000_0000;

/** What a host is made from. */
export interface PciHostOptions {
  /** where I/O BARs and CF8 to CFF are claimed */
  readonly ports: Bus;
  /** where memory BARs and ECAM are claimed */
  readonly memory: Bus;
  /** inputs of the interrupt controllers */
  readonly interrupts: InterruptInputs;
  /** where messages go */
  readonly msi: MsiSink;
  /** addresses for BARs */
  readonly windows: PciWindows;
  /** whether firmware runs: it enables BARs, and INTx routes are fixed */
  readonly bootRom: boolean;
  /** whether BARs decode from the start: default the opposite of `bootRom` */
  readonly enableBars?: boolean;
  /** inputs of the I/O APIC: default 32 */
  readonly ioapicPins?: number;
}

/** A function cannot be where it is wanted. */
export class PciSlotError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "PciSlotError";
}

const LIMITS = { bus: 256, slot: 32, func: 8 };

function key({ bus, slot, func }: PciLocation): number {
  return bus << 8 | slot << 3 | func;
}

/** The functions of a machine and the ways to their configuration space. */
export class PciHost implements Lifecycle {
  readonly name = "pci-host";
  /** routing of PIRQA to PIRQH, which the LPC bridge shows */
  readonly pirq: PirqRouter;
  readonly #options: PciHostOptions;
  readonly #functions = new Map<number, PciFunction>();
  readonly #host: FunctionHost;
  readonly #intx: IntxRouter;
  readonly #windows = new Map<number, PciWindows>();
  readonly #ports: ConfigPorts;

  /** Claims the ways to configuration space. */
  constructor(options: PciHostOptions) {
    this.#options = options;
    const { ports, memory, msi, interrupts, bootRom } = options;
    this.pirq = new PirqRouter(interrupts);
    this.#intx = new IntxRouter({
      inputs: interrupts,
      pirq: this.pirq,
      bootRom,
      ioapicPins: options.ioapicPins ?? 32,
    });
    const bars = new BarMapper(ports, memory);
    this.#host = { msi, bars, intx: this.#intx };
    this.#ports = new ConfigPorts(this);
    ports.claim({
      start: CONFIG_PORTS,
      length: 4,
      handler: this.#ports.addressHandler,
      name: "PCI configuration address",
    });
    ports.claim({
      start: CONFIG_PORTS + 4,
      length: 4,
      handler: this.#ports.dataHandler,
      name: "PCI configuration data",
    });
    memory.claim({
      start: ECAM_BASE,
      length: ECAM_LENGTH,
      handler: ecamHandler(this),
      name: "PCI configuration memory",
    });
  }

  /**
   * Puts a device into a slot.
   *
   * @throws {PciSlotError} where the slot is occupied or does not exist
   */
  add(location: PciLocation, device: PciDevice): PciFunction {
    for (const part of ["bus", "slot", "func"] as const) {
      const number = location[part];
      if (!Number.isInteger(number) || number < 0 || number >= LIMITS[part]) {
        throw new PciSlotError(
          `pci slot ${locationText(location)}: no such ${part}`,
        );
      }
    }
    if (this.#functions.has(key(location))) {
      throw new PciSlotError(
        `pci slot ${locationText(location)} already occupied!`,
      );
    }
    const added = new PciFunction(location, device, this.#host);
    if (device.intx === true) added.setPin(this.#intx.choosePin(location));
    this.#functions.set(key(location), added);
    device.connect(added);
    return added;
  }

  /**
   * Lets a byte register answer at a port inside of CONFIG_ADDRESS, which ranges of a
   * bus cannot say: port CF9 resets machines.
   */
  overlay(port: number, handler: BusHandler): void {
    this.#ports.overlay(port - CONFIG_PORTS, handler);
  }

  /** Assigns addresses and interrupt routes: called once, after the last `add`. */
  finish(): void {
    const functions = this.functions;
    const allocator = new WindowAllocator(this.#options.windows);
    for (const bus of this.buses) {
      const requests = functions.filter((f) => f.location.bus === bus)
        .flatMap((f) =>
          f.bars.map((bar) => ({
            kind: bar.declaration.kind,
            size: bar.size,
            name: `${f.name} BAR${bar.declaration.index}`,
            assign: (address: number) => {
              bar.address = address;
            },
          }))
        );
      this.#windows.set(bus, allocator.assignBus(requests));
    }
    for (const one of functions) {
      if (one.pin > 0) this.#route(one);
      one.powerOn(this.#options.enableBars ?? !this.#options.bootRom);
    }
  }

  #route(one: PciFunction): void {
    const route = this.#intx.route(one.location, one.pin);
    one.setRoute(route, this.pirq.irq(route.pirq));
  }

  // What tables are built from.

  /** Every function, by bus, slot and number. */
  get functions(): PciFunction[] {
    return [...this.#functions].sort(([a], [b]) => a - b).map(([, f]) => f);
  }

  /** The buses that have functions, and bus 0. */
  get buses(): number[] {
    const used = this.functions.map((f) => f.location.bus);
    return [...new Set([0, ...used])];
  }

  /** Where the used interrupt pins lead. */
  get intxRoutes(): IntxRoute[] {
    return this.#intx.routes;
  }

  /** What a bus decodes, for its `_CRS`. */
  busWindows(bus: number): PciWindows | undefined {
    return this.#windows.get(bus);
  }

  // Configuration space.

  /** Reads a function's configuration space as software would. */
  readConfig(location: PciLocation, offset: number, bytes: number): number {
    const ones = 2 ** (8 * bytes) - 1;
    const target = this.#functions.get(key(location));
    if (target === undefined || !aligned(offset, bytes)) return ones;
    if (offset >= R.CONFIG_SIZE) {
      // No extended capabilities: the first header of their list is empty.
      return offset < R.CONFIG_SIZE + 4 ? 0 : ones;
    }
    const value = target.readConfig(offset, bytes);
    const at = R.HEADER_TYPE - offset;
    return at >= 0 && at < bytes && this.#multifunction(location)
      ? (value | R.MULTIFUNCTION << 8 * at) >>> 0
      : value;
  }

  #multifunction({ bus, slot }: PciLocation): boolean {
    let count = 0;
    for (let func = 0; func < LIMITS.func; func++) {
      if (this.#functions.has(key({ bus, slot, func }))) count++;
    }
    return count > 1;
  }

  /** Writes a function's configuration space as software would. */
  writeConfig(
    location: PciLocation,
    offset: number,
    bytes: number,
    value: number,
  ): void {
    const target = this.#functions.get(key(location));
    if (!aligned(offset, bytes) || offset >= R.CONFIG_SIZE) return;
    target?.writeConfig(offset, bytes, value);
  }

  // Life: of the host and the configuration spaces; devices have their own.

  reset(): void {
    this.#ports.reset();
    this.pirq.batch(() => {
      this.pirq.reset();
      for (const one of this.functions) one.reset();
    });
  }

  save(): DeviceState {
    const functions = this.functions.map((f) => [f.name, f.save()]);
    const state = {
      kind: "pci-host",
      version: 1,
      address: this.#ports.address,
      pirq: this.pirq.save(),
      functions: Object.fromEntries(functions),
    };
    return state;
  }

  /** Takes a state whole, or stays as it is. @throws {Error} */
  restore(state: DeviceState): void {
    const before = this.save();
    try {
      this.#apply(hostState(state));
    } catch (error) {
      this.#apply(hostState(before));
      throw error;
    }
  }

  #apply({ address, pirq, functions }: HostState): void {
    const names = this.functions.map((f) => f.name);
    const given = Object.keys(functions);
    if (names.toSorted().join() !== given.toSorted().join()) {
      throw new Error(
        `Cannot restore PCI functions ${given.join(" ")}: the machine has ${
          names.join(" ")
        }`,
      );
    }
    this.pirq.batch(() => {
      this.pirq.restore(pirq);
      for (const one of this.functions) {
        const saved = functions[one.name];
        if (saved !== undefined) one.restore(saved);
      }
    });
    this.#ports.address = address;
  }
}

function aligned(offset: number, bytes: number): boolean {
  return (bytes === 1 || bytes === 2 || bytes === 4) && offset % bytes === 0;
}

interface HostState {
  readonly address: number;
  readonly pirq: DeviceState;
  readonly functions: Readonly<Record<string, DeviceState>>;
}

/** The parts of a host's snapshot; each part is checked by what takes it. */
function hostState(state: DeviceState): HostState {
  const { kind, version, address, pirq, functions, ...rest } = state as
    & DeviceState
    & Partial<HostState>;
  const fits = kind === "pci-host" && version === 1 &&
    typeof address === "number" && address >= 0 && address <= 0xffff_ffff &&
    typeof pirq === "object" && typeof functions === "object" &&
    functions !== null && Object.keys(rest).length === 0;
  if (!fits) throw new Error(`Cannot restore pci-host from ${kind} ${version}`);
  return { address, pirq, functions };
}
