// A PCI function: the 256 bytes of configuration space of a device, its BARs, its
// capability list and its interrupts (PCI 3.0, chapter 6). What is writable follows
// bhyve: command bits 0-6 and 8-10, no write-one-to-clear status bits.

import type { DeviceState, MsiSink } from "../../vmm/device.ts";
import { flag, StateSchema, table, u8 } from "../state.ts";
import { Bar, type BarMapper } from "./bars.ts";
import {
  type BarDeclaration,
  locationText,
  type PciCapability,
  type PciDevice,
  type PciLocation,
  type PciPort,
} from "./device.ts";
import type { IntxRoute, IntxRouter } from "./intx.ts";
import { msiCapability, msiEnabled, sendMsi } from "./msi.ts";
import {
  msixBarSize,
  msixCapability,
  msixEnabled,
  msixState,
  MsixTable,
} from "./msix.ts";
import * as R from "./registers.ts";

/** What a function needs of its host bridge. */
export interface FunctionHost {
  /** where messages go */
  readonly msi: MsiSink;
  /** claims the ranges of BARs */
  readonly bars: BarMapper;
  /** routes interrupt pins */
  readonly intx: IntxRouter;
}

interface PlacedCapability {
  readonly capability: PciCapability;
  readonly offset: number;
  readonly length: number;
}

const schema = (vectors: number) =>
  new StateSchema("pci-function", 1, {
    config: table(u8(), R.CONFIG_SIZE),
    intx: flag(),
    msix: msixState(vectors),
  });

// Header bytes that software may write as plain memory: cache line size, latency
// timer, interrupt line. Command and BARs have rules of their own.
const HEADER_WRITABLE = new Set([0x0c, 0x0d, R.INTERRUPT_LINE]);

/** One function of a slot, made by its host bridge. */
export class PciFunction implements PciPort {
  /** claims the ranges of BARs */
  readonly bars: readonly Bar[];
  /** where the interrupt pin leads, once routed */
  route: IntxRoute | undefined;
  #config = new Uint8Array(R.CONFIG_SIZE);
  #powerOn = new Uint8Array(R.CONFIG_SIZE);
  #state: ReturnType<ReturnType<typeof schema>["initial"]>;
  #driven = false;
  readonly #schema: ReturnType<typeof schema>;
  readonly #writable = new Uint8Array(R.CONFIG_SIZE);
  readonly #capabilities: PlacedCapability[] = [];
  readonly #msi: PlacedCapability | undefined;
  readonly #msix: PlacedCapability | undefined;
  readonly #msixTable: MsixTable;

  /** Lays out configuration space as the device declares it. */
  constructor(
    readonly location: PciLocation,
    readonly device: PciDevice,
    readonly host: FunctionHost,
  ) {
    this.#schema = schema(device.msix?.vectors ?? 0);
    this.#state = this.#schema.initial();
    this.#msixTable = new MsixTable(
      () => this.#state.msix,
      () => this.#bytesOf(this.#msix),
      host.msi,
    );
    this.bars = this.#declaredBars().map((declaration) =>
      new Bar(declaration, this.name, () => this.#view())
    );
    this.#writeHeader();
    const { msix, msiVectors, capabilities = [] } = device;
    if (msix !== undefined) {
      this.#msix = this.#addCapability(msixCapability(msix.vectors, msix.bar));
    }
    if (msiVectors !== undefined) {
      this.#msi = this.#addCapability(msiCapability(msiVectors));
    }
    for (const capability of capabilities) this.#addCapability(capability);
    this.#openRest();
  }

  /** As in snapshots and messages. */
  get name(): string {
    return `${this.device.model}@${locationText(this.location)}`;
  }

  #declaredBars(): BarDeclaration[] {
    const { bars = [], msix } = this.device;
    if (msix === undefined) return [...bars];
    return [...bars, {
      index: msix.bar,
      kind: "mem32",
      size: msixBarSize(msix.vectors),
      handler: this.#msixTable.handler(),
    }];
  }

  #view(): DataView {
    return new DataView(this.#config.buffer);
  }

  #writeHeader(): void {
    const { identity: id, configBytes } = this.device;
    const view = this.#view();
    view.setUint16(R.VENDOR, id.vendor, true);
    view.setUint16(R.DEVICE, id.device, true);
    view.setUint32(R.REVISION, id.classCode * 256 + (id.revision ?? 0), true);
    view.setUint16(R.SUBSYSTEM_VENDOR, id.subsystemVendor ?? 0, true);
    view.setUint16(R.SUBSYSTEM, id.subsystem ?? 0, true);
    this.#config[R.INTERRUPT_LINE] = 0xff;
    for (const bar of this.bars) bar.address = 0;
    for (const [offset, byte] of configBytes ?? []) this.#config[offset] = byte;
  }

  #addCapability(capability: PciCapability): PlacedCapability {
    const last = this.#capabilities.at(-1);
    const offset = last === undefined
      ? R.FIRST_CAPABILITY
      : last.offset + last.length + 3 & ~3;
    const placed = { capability, offset, length: 2 + capability.body.length };
    if (offset + placed.length > R.CONFIG_SIZE) {
      throw new RangeError(`Cannot add capability ${capability.id}: no room`);
    }
    this.#config[last === undefined ? R.CAPABILITIES : last.offset + 1] =
      offset;
    this.#config[offset] = capability.id;
    this.#config.set(capability.body, offset + 2);
    this.#writable.set(capability.writable ?? [], offset + 2);
    this.#config[R.STATUS]! |= R.STATUS_CAPABILITIES;
    this.#capabilities.push(placed);
    return placed;
  }

  /** Bytes that nothing declares are plain memory, as in bhyve. */
  #openRest(): void {
    for (const at of HEADER_WRITABLE) this.#writable[at] = 0xff;
    const last = this.#capabilities.at(-1);
    const from = last === undefined
      ? R.FIRST_CAPABILITY
      : last.offset + last.length;
    this.#writable.fill(0xff, from);
  }

  #bytesOf(placed: PlacedCapability | undefined): Uint8Array {
    if (placed === undefined) return new Uint8Array(0);
    return this.#config.subarray(placed.offset, placed.offset + placed.length);
  }

  capability(capability: PciCapability): Uint8Array {
    return this.#bytesOf(
      this.#capabilities.find((c) => c.capability === capability),
    );
  }

  // Configuration, before the machine starts.

  /** Gives the function its interrupt pin. */
  setPin(pin: number): void {
    this.#config[R.INTERRUPT_PIN] = pin;
  }

  /** The interrupt pin: 1 to 4, or 0 for none. */
  get pin(): number {
    return this.#config[R.INTERRUPT_PIN] ?? 0;
  }

  /** Tells where the pin leads, and which ISA interrupt firmware would report. */
  setRoute(route: IntxRoute, irq: number | undefined): void {
    this.route = route;
    this.#config[R.INTERRUPT_LINE] = irq ?? 0xff;
  }

  /** Ends configuration: what is in the registers now is the state after power-on. */
  powerOn(enableBars: boolean): void {
    if (enableBars) {
      const kinds = this.bars.map((b) => b.declaration.kind);
      this.#config[R.COMMAND]! |= R.COMMAND_BUS_MASTER |
        (kinds.some((k) => k === "io") ? R.COMMAND_IO : 0) |
        (kinds.some((k) => k !== "io") ? R.COMMAND_MEMORY : 0);
    }
    this.#powerOn = this.#config.slice();
    this.#remap();
  }

  // Configuration space.

  get #command(): number {
    return this.#view().getUint16(R.COMMAND, true);
  }

  /** Reads aligned 1, 2 or 4 bytes of configuration space. */
  readConfig(offset: number, bytes: number): number {
    const owned = this.#readCapability(offset, bytes);
    if (owned !== undefined) return owned;
    let value = 0;
    for (let i = bytes - 1; i >= 0; i--) {
      value = value * 256 + this.#readByte(offset + i);
    }
    return value;
  }

  #readCapability(offset: number, bytes: number): number | undefined {
    const placed = this.#at(offset);
    return placed?.capability.read?.(offset - placed.offset, bytes);
  }

  #readByte(offset: number): number {
    const own = this.device.readConfig?.(offset);
    if (own !== undefined) return own & 0xff;
    const byte = this.#config[offset] ?? 0xff;
    return offset === R.STATUS && this.#state.intx
      ? byte | R.STATUS_INTERRUPT
      : byte;
  }

  #at(offset: number): PlacedCapability | undefined {
    return this.#capabilities.find((c) =>
      offset >= c.offset && offset < c.offset + c.length
    );
  }

  /** Writes aligned 1, 2 or 4 bytes of configuration space. */
  writeConfig(offset: number, bytes: number, value: number): void {
    if (this.device.writeConfig?.(offset, bytes, value) === true) return;
    if (offset >= R.BAR0 && offset < R.BARS_END) {
      return this.#writeBar(offset, bytes, value);
    }
    for (let i = 0; i < bytes; i++) {
      this.#writeByte(offset + i, Math.floor(value / 2 ** (8 * i)) & 0xff);
    }
    if (offset < R.STATUS && offset + bytes > R.COMMAND) this.#remap();
    const placed = this.#at(offset);
    placed?.capability.written?.(offset - placed.offset, bytes);
    this.#msixTable.flush();
    this.#driveIntx();
  }

  #writeByte(offset: number, byte: number): void {
    const mask = offset === R.COMMAND
      ? R.COMMAND_WRITABLE & 0xff
      : offset === R.COMMAND + 1
      ? R.COMMAND_WRITABLE >> 8
      : this.#writable[offset] ?? 0;
    const old = this.#config[offset] ?? 0;
    this.#config[offset] = old & ~mask | byte & mask;
  }

  #writeBar(offset: number, bytes: number, value: number): void {
    if (bytes !== 4) return;
    for (const bar of this.bars) {
      const register = (offset - bar.registers.offset) / 4;
      if (register < 0 || register >= bar.registers.count) continue;
      bar.write(register, value);
      this.host.bars.update(bar, this.#decodes(bar));
    }
  }

  #decodes(bar: Bar): boolean {
    const bit = bar.declaration.kind === "io" ? R.COMMAND_IO : R.COMMAND_MEMORY;
    return (this.#command & bit) !== 0;
  }

  #remap(): void {
    for (const bar of this.bars) {
      const decoded = this.#decodes(bar);
      if (decoded !== bar.mapped) this.host.bars.update(bar, decoded);
    }
  }

  // Interrupts.

  get msiEnabled(): boolean {
    return msiEnabled(this.#bytesOf(this.#msi));
  }

  get msixEnabled(): boolean {
    return msixEnabled(this.#bytesOf(this.#msix));
  }

  raiseMsi(vector: number): void {
    sendMsi(this.#bytesOf(this.#msi), vector, this.host.msi);
  }

  raiseMsix(vector: number): void {
    this.#msixTable.raise(vector);
  }

  raiseIntx(level: boolean): void {
    this.#state.intx = level;
    this.#driveIntx();
  }

  #driveIntx(): void {
    if (this.route === undefined) return;
    const permitted = !this.msiEnabled && !this.msixEnabled &&
      (this.#command & R.COMMAND_INTX_DISABLE) === 0;
    const up = this.#state.intx && permitted;
    if (up === this.#driven) return;
    this.#driven = up;
    this.host.intx.drive(this.route, up);
  }

  // Life.

  /** Puts configuration space, BARs and interrupts into the state after power-on. */
  reset(): void {
    this.#state = this.#schema.initial();
    this.#replace(this.#powerOn.slice());
  }

  #replace(config: Uint8Array<ArrayBuffer>): void {
    this.#config = config;
    for (const bar of this.bars) this.host.bars.update(bar, this.#decodes(bar));
    this.#driveIntx();
  }

  /** Configuration space and interrupts: the device saves its own. */
  save(): DeviceState {
    return this.#schema.save({ ...this.#state, config: [...this.#config] });
  }

  /** Takes a state; what hardware fixes in configuration space stays as it is. */
  restore(state: DeviceState): void {
    this.#state = this.#schema.restore(state);
    this.#replace(this.#sanitized(this.#state.config));
  }

  #sanitized(saved: readonly number[]): Uint8Array<ArrayBuffer> {
    const config = this.#powerOn.slice();
    this.#config = config;
    const view = new DataView(Uint8Array.from(saved).buffer);
    for (const bar of this.bars) {
      for (let i = 0; i < bar.registers.count; i++) {
        bar.write(i, view.getUint32(bar.registers.offset + 4 * i, true));
      }
    }
    saved.forEach((byte, offset) => {
      if (offset < R.BAR0 || offset >= R.BARS_END) {
        this.#writeByte(offset, byte);
      }
    });
    return config;
  }
}
