// The 16550A UART as a pure state machine (National Semiconductor PC16550D data sheet,
// section 8). Bit rates mean nothing: a character is sent at once while the line has
// room, and THRE and TEMT say whether it has; the character time-out of the receiver is
// at once. Outside loopback DCD and DSR are asserted and CTS and RI are not, as in bhyve.

import type { DeviceState } from "../../vmm/device.ts";
import { flag, queue, StateSchema, u8 } from "../state.ts";

/** What a UART drives. */
export interface UartPins {
  /** The interrupt pin changed, or another cause took over while it was up. */
  interrupt(level: boolean): void;
  /** A character left the transmitter. */
  transmit(byte: number): void;
  /** Characters that the line takes now. */
  room(): number;
  /** The guest emptied the receiver: what waits behind it is stale too. */
  flushInput(): void;
}

const FIFO_SIZE = 16;
const TRIGGERS = [1, 4, 8, 14];

const IER_RECEIVED = 0x01;
const IER_THRE = 0x02;
const IER_LINE = 0x04;
const IER_MODEM = 0x08;

const IIR_NONE = 0x01;
const IIR_MODEM = 0x00;
const IIR_THRE = 0x02;
const IIR_RECEIVED = 0x04;
const IIR_LINE = 0x06;
const IIR_TIMEOUT = 0x0c;
const IIR_FIFOS = 0xc0;

const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVER = 0x02;
const FCR_KEPT = 0xc9;

const LCR_DLAB = 0x80;

const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;
const MCR_BITS = 0x1f;

const LSR_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_THRE = 0x20;
const LSR_TEMT = 0x40;

const MSR_DELTA_CTS = 0x01;
const MSR_DELTA_DSR = 0x02;
const MSR_TRAILING_RI = 0x04;
const MSR_DELTA_DCD = 0x08;
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;
const MSR_DELTAS = 0x0f;

// 115200 bits a second from the usual 1.8432 MHz.
const RESET_DIVISOR = 1;

/** What a snapshot has of a UART. */
export const UART_STATE = new StateSchema("uart16550", 1, {
  ier: u8(),
  fcr: u8(),
  lcr: u8(),
  mcr: u8(),
  lsr: u8(LSR_THRE | LSR_TEMT),
  msr: u8(MSR_DCD | MSR_DSR),
  scr: u8(),
  dll: u8(RESET_DIVISOR),
  dlm: u8(),
  threPending: flag(),
  received: queue(u8(), FIFO_SIZE),
});

/** Bytes in a UART's range. */
export const UART_REGISTERS = 8;

/** The registers of a UART and its receiver FIFO. */
export class Uart16550 {
  #s = UART_STATE.initial();
  #cause = IIR_NONE;

  /** Makes a UART after master reset. */
  constructor(readonly pins: UartPins) {}

  /** Characters that the receiver takes now without an overrun. */
  get room(): number {
    const depth = (this.#s.fcr & FCR_ENABLE) !== 0 ? FIFO_SIZE : 1;
    const looped = (this.#s.mcr & MCR_LOOP) !== 0;
    return looped ? 0 : Math.max(0, depth - this.#s.received.length);
  }

  /** A character arrives on the line. */
  receive(byte: number): void {
    if ((this.#s.mcr & MCR_LOOP) === 0) this.#take(byte);
    this.#update();
  }

  #take(byte: number): void {
    const depth = (this.#s.fcr & FCR_ENABLE) !== 0 ? FIFO_SIZE : 1;
    if (this.#s.received.length >= depth) {
      this.#s.lsr |= LSR_OVERRUN;
      // Without FIFOs the new character replaces the one in the buffer.
      if (depth === 1) this.#s.received = [byte];
      return;
    }
    this.#s.received.push(byte);
  }

  /** Reads the register at `offset`, 0 to 7. */
  read(offset: number): number {
    const value = this.#read(offset);
    this.#update();
    return value;
  }

  #read(offset: number): number {
    const s = this.#s;
    const dlab = (s.lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case 0:
        return dlab ? s.dll : s.received.shift() ?? 0;
      case 1:
        return dlab ? s.dlm : s.ier;
      case 2:
        return this.#readIir();
      case 3:
        return s.lcr;
      case 4:
        return s.mcr;
      case 5:
        return this.#readLsr();
      case 6:
        return this.#readMsr();
      case 7:
        return s.scr;
      default:
        return 0xff;
    }
  }

  #readIir(): number {
    const cause = this.#pendingCause();
    if (cause === IIR_THRE) this.#s.threPending = false;
    const fifos = (this.#s.fcr & FCR_ENABLE) !== 0 ? IIR_FIFOS : 0;
    return cause | fifos;
  }

  #readLsr(): number {
    const ready = this.#s.received.length > 0 ? LSR_READY : 0;
    const empty = this.#isTransmitterEmpty() ? LSR_THRE | LSR_TEMT : 0;
    const value = this.#s.lsr & LSR_OVERRUN | empty | ready;
    this.#s.lsr &= ~LSR_OVERRUN;
    return value;
  }

  // THRE lets a driver send a whole FIFO without looking again.
  #isTransmitterEmpty(): boolean {
    const looped = (this.#s.mcr & MCR_LOOP) !== 0;
    return looped || this.pins.room() >= FIFO_SIZE;
  }

  /** The line has room again, after `room` said that it had not. */
  transmitterEmptied(): void {
    this.#s.threPending = true;
    this.#update();
  }

  #readMsr(): number {
    const value = this.#s.msr;
    this.#s.msr &= ~MSR_DELTAS;
    return value;
  }

  /** Writes the register at `offset`, 0 to 7. */
  write(offset: number, value: number): void {
    this.#write(offset, value);
    this.#update();
  }

  #write(offset: number, value: number): void {
    const s = this.#s;
    const dlab = (s.lcr & LCR_DLAB) !== 0;
    if (offset === 0) dlab ? s.dll = value : this.#transmit(value);
    else if (offset === 1) dlab ? s.dlm = value : this.#writeIer(value);
    else if (offset === 2) this.#writeFcr(value);
    else if (offset === 3) s.lcr = value;
    else if (offset === 4) this.#writeMcr(value);
    else if (offset === 7) s.scr = value;
  }

  #transmit(byte: number): void {
    if ((this.#s.mcr & MCR_LOOP) !== 0) this.#take(byte);
    else this.pins.transmit(byte);
    this.#s.threPending = this.#isTransmitterEmpty();
  }

  #writeIer(value: number): void {
    // Enabling the interrupt while the holding register is empty raises it.
    const isEnabled = (value & ~this.#s.ier & IER_THRE) !== 0;
    if (isEnabled && this.#isTransmitterEmpty()) this.#s.threPending = true;
    this.#s.ier = value & 0x0f;
  }

  #writeFcr(value: number): void {
    const toggled = ((value ^ this.#s.fcr) & FCR_ENABLE) !== 0;
    if (toggled) this.#s.received = [];
    const enabled = (value & FCR_ENABLE) !== 0;
    if (enabled && (value & FCR_CLEAR_RECEIVER) !== 0) {
      this.#s.received = [];
      this.pins.flushInput();
    }
    // Without the enable bit the other bits are not programmed.
    this.#s.fcr = enabled ? value & FCR_KEPT : 0;
  }

  #writeMcr(value: number): void {
    this.#s.mcr = value & MCR_BITS;
    this.#setModemLines(this.#modemLines());
  }

  #modemLines(): number {
    const { mcr } = this.#s;
    if ((mcr & MCR_LOOP) === 0) return MSR_DCD | MSR_DSR;
    return (mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) |
      (mcr & MCR_OUT1 ? MSR_RI : 0) | (mcr & MCR_OUT2 ? MSR_DCD : 0);
  }

  #setModemLines(lines: number): void {
    const { msr } = this.#s;
    const changed = msr ^ lines;
    const deltas = (changed & MSR_CTS ? MSR_DELTA_CTS : 0) |
      (changed & MSR_DSR ? MSR_DELTA_DSR : 0) |
      (changed & MSR_DCD ? MSR_DELTA_DCD : 0) |
      // Only the end of a ring counts.
      (changed & msr & MSR_RI ? MSR_TRAILING_RI : 0);
    this.#s.msr = lines | msr & MSR_DELTAS | deltas;
  }

  /** The interrupt of highest priority, as IIR shows it. */
  #pendingCause(): number {
    const s = this.#s;
    const on = (bit: number) => (s.ier & bit) !== 0;
    if (on(IER_LINE) && (s.lsr & LSR_OVERRUN) !== 0) return IIR_LINE;
    if (on(IER_RECEIVED) && s.received.length > 0) return this.#receiveCause();
    if (on(IER_THRE) && s.threPending) return IIR_THRE;
    if (on(IER_MODEM) && (s.msr & MSR_DELTAS) !== 0) return IIR_MODEM;
    return IIR_NONE;
  }

  #receiveCause(): number {
    const { fcr, received } = this.#s;
    const trigger = (fcr & FCR_ENABLE) !== 0 ? TRIGGERS[fcr >> 6] ?? 1 : 1;
    return received.length >= trigger ? IIR_RECEIVED : IIR_TIMEOUT;
  }

  #update(): void {
    const cause = this.#pendingCause();
    if (cause === this.#cause) return;
    this.#cause = cause;
    this.pins.interrupt(cause !== IIR_NONE);
  }

  /** Master reset. */
  reset(): void {
    this.#s = UART_STATE.initial();
    this.#update();
  }

  /** Its registers and the receiver FIFO. */
  save(): DeviceState {
    return UART_STATE.save(this.#s);
  }

  /** Takes a state; the interrupt pin follows. */
  restore(state: DeviceState): void {
    this.#s = UART_STATE.restore(state);
    this.#update();
  }
}
