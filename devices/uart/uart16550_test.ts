// The 16550A: FIFOs, interrupts, modem lines, loopback.

import { assertEquals } from "@std/assert";
import { Uart16550 } from "./uart16550.ts";

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7];
const FCR = IIR;

function setup() {
  const sent: number[] = [];
  const levels: boolean[] = [];
  const line = { room: Infinity };
  let flushes = 0;
  const uart = new Uart16550({
    interrupt: (level) => levels.push(level),
    transmit: (byte) => {
      sent.push(byte);
      line.room--;
    },
    room: () => line.room,
    flushInput: () => flushes++,
  });
  return { uart, sent, levels, line, flushes: () => flushes };
}

Deno.test("Uart16550 has the data sheet's registers after reset", () => {
  const { uart } = setup();
  const values = [IER, IIR, LCR, MCR, LSR, MSR, SCR].map((r) => uart.read(r));
  assertEquals(values, [0, 1, 0, 0, 0x60, 0xa0, 0]);
});

Deno.test("Uart16550 keeps the divisor behind DLAB", () => {
  const { uart, sent } = setup();
  uart.write(LCR, 0x83);
  uart.write(DATA, 12);
  uart.write(IER, 3);
  assertEquals([uart.read(DATA), uart.read(IER)], [12, 3]);
  uart.write(LCR, 3);
  assertEquals(uart.read(IER), 0);
  assertEquals(sent, []);
});

Deno.test("Uart16550 sends and raises THRE until IIR is read", () => {
  const { uart, sent, levels } = setup();
  uart.write(IER, 2);
  assertEquals(levels, [true]);
  assertEquals(uart.read(IIR), 2);
  assertEquals(levels, [true, false]);
  assertEquals(uart.read(IIR), 1);
  uart.write(DATA, 65);
  assertEquals(sent, [65]);
  assertEquals(levels, [true, false, true]);
  uart.write(IER, 0);
  assertEquals(levels.at(-1), false);
});

Deno.test("Uart16550 receives with FIFOs and reports trigger and time-out", () => {
  const { uart } = setup();
  uart.write(FCR, 0x41);
  uart.write(IER, 1);
  for (const byte of [1, 2, 3]) uart.receive(byte);
  assertEquals(uart.read(IIR), 0xcc);
  uart.receive(4);
  assertEquals(uart.read(IIR), 0xc4);
  assertEquals([0, 0, 0, 0].map(() => uart.read(DATA)), [1, 2, 3, 4]);
  assertEquals(uart.read(IIR), 0xc1);
  assertEquals(uart.read(DATA), 0);
});

Deno.test("Uart16550 overruns: 16 characters with FIFOs, one without", () => {
  const { uart } = setup();
  uart.write(IER, 5);
  assertEquals(uart.room, 1);
  uart.receive(1);
  uart.receive(2);
  assertEquals(uart.read(IIR), 6);
  assertEquals(uart.read(LSR), 0x63);
  assertEquals(uart.read(LSR), 0x61);
  assertEquals(uart.read(DATA), 2);
  uart.write(FCR, 1);
  for (let i = 0; i < 17; i++) uart.receive(i);
  assertEquals(uart.room, 0);
  assertEquals(uart.read(LSR) & 2, 2);
  assertEquals(Array.from({ length: 17 }, () => uart.read(DATA))[15], 15);
});

Deno.test("Uart16550 clears the receiver by FCR", () => {
  const { uart, flushes } = setup();
  uart.write(FCR, 1);
  uart.receive(1);
  uart.write(FCR, 3);
  assertEquals(uart.read(LSR) & 1, 0);
  assertEquals(flushes(), 1);
  uart.receive(1);
  uart.write(FCR, 0);
  assertEquals(uart.read(LSR) & 1, 0);
});

Deno.test("Uart16550 loops characters and modem lines back", () => {
  const { uart, sent } = setup();
  uart.write(MCR, 0x1b);
  assertEquals(uart.read(MSR) & 0xf0, 0xb0);
  uart.write(DATA, 0x5a);
  assertEquals(sent, []);
  assertEquals(uart.room, 0);
  uart.receive(1);
  assertEquals(uart.read(DATA), 0x5a);
  uart.write(MCR, 0x14);
  assertEquals(uart.read(MSR), 0x4b);
  uart.write(IER, 8);
  uart.write(MCR, 0x10);
  assertEquals(uart.read(IIR), 0);
  assertEquals(uart.read(MSR), 0x04);
  assertEquals(uart.read(IIR), 1);
});

Deno.test("Uart16550 orders interrupts by priority", () => {
  const { uart } = setup();
  uart.write(IER, 0x0f);
  uart.write(MCR, 0x11);
  uart.write(MCR, 0);
  uart.receive(1);
  uart.receive(2);
  assertEquals(uart.read(IIR), 6);
  uart.read(LSR);
  assertEquals(uart.read(IIR), 4);
  uart.read(DATA);
  assertEquals(uart.read(IIR), 2);
  assertEquals(uart.read(IIR), 0);
  uart.read(MSR);
  assertEquals(uart.read(IIR), 1);
});

Deno.test("Uart16550 shows THRE while the line takes a whole FIFO", () => {
  const { uart, sent, levels, line } = setup();
  line.room = 17;
  uart.write(IER, 2);
  uart.read(IIR);
  uart.write(DATA, 1);
  assertEquals([uart.read(LSR), uart.read(IIR)], [0x60, 2]);
  uart.write(DATA, 2);
  assertEquals([uart.read(LSR), uart.read(IIR)], [0, 1]);
  uart.write(IER, 0);
  uart.write(IER, 2);
  assertEquals(uart.read(IIR), 1);
  line.room = 100;
  uart.transmitterEmptied();
  assertEquals(levels.at(-1), true);
  assertEquals([uart.read(LSR), uart.read(IIR)], [0x60, 2]);
  assertEquals(sent, [1, 2]);
});

Deno.test("Uart16550 in loopback needs no room on the line", () => {
  const { uart, line } = setup();
  line.room = 0;
  uart.write(MCR, 0x10);
  assertEquals(uart.read(LSR), 0x60);
});
