// The keyboard controller with its keyboard and mouse.

import { assertEquals } from "@std/assert";
import { Bus } from "../../vmm/bus.ts";
import { conformance } from "../conformance.ts";
import { TestLine } from "../testing.ts";
import { I8042 } from "./i8042.ts";
import { keySequence, toSet1, toSet2 } from "./scan_codes.ts";

function setup() {
  const ports = new Bus("port");
  const keyboardIrq = new TestLine();
  const mouseIrq = new TestLine();
  let resets = 0;
  const device = new I8042({
    ports,
    keyboardIrq,
    mouseIrq,
    reset: () => resets++,
  });
  const at = (port: number) => ports.find(port, 1)!.handler;
  return {
    device,
    keyboardIrq,
    mouseIrq,
    resets: () => resets,
    ranges: [0x60, 0x64].map((p) => ({
      name: `${p}`,
      length: 1,
      handler: at(p),
    })),
    data: (byte: number) => at(0x60).write(0, 1, BigInt(byte)),
    command: (byte: number) => at(0x64).write(0, 1, BigInt(byte)),
    status: () => at(0x64).read(0, 1) as number,
    /** Every byte that waits. */
    drain(): number[] {
      const bytes: number[] = [];
      while (((at(0x64).read(0, 1) as number) & 1) !== 0) {
        bytes.push(at(0x60).read(0, 1) as number);
      }
      return bytes;
    },
  };
}

type Fixture = ReturnType<typeof setup>;

function mouse(fixture: Fixture, ...bytes: number[]): number[] {
  for (const byte of bytes) {
    fixture.command(0xd4);
    fixture.data(byte);
  }
  return fixture.drain();
}

function keyboard(fixture: Fixture, ...bytes: number[]): number[] {
  for (const byte of bytes) fixture.data(byte);
  return fixture.drain();
}

Deno.test("I8042 answers its self tests", () => {
  const f = setup();
  f.command(0xaa);
  assertEquals(f.status() & 0x29, 0x09);
  assertEquals(f.drain(), [0x55]);
  for (const [command, reply] of [[0xab, 0], [0xa9, 0], [0xc0, 0], [0xd0, 3]]) {
    f.command(command!);
    assertEquals(f.drain(), [reply]);
  }
});

Deno.test("I8042 keeps its command byte and memory", () => {
  const f = setup();
  f.command(0x20);
  assertEquals(f.drain(), [0x45]);
  f.command(0x60);
  f.data(0x03);
  assertEquals(f.status() & 0x0c, 0);
  f.command(0x20);
  assertEquals(f.drain(), [0x03]);
  f.command(0x7f);
  f.data(0x99);
  f.command(0x3f);
  assertEquals(f.drain(), [0x99]);
});

Deno.test("I8042 translates keys to set 1 and interrupts for each byte", () => {
  const f = setup();
  f.device.keyboard.key(0x1e, true);
  assertEquals(f.keyboardIrq.pulses, 1);
  f.device.keyboard.key(0x1e, false);
  f.device.keyboard.key(0xe04b, true);
  f.device.keyboard.key(0xe04b, false);
  assertEquals(f.drain(), [0x1e, 0x9e, 0xe0, 0x4b, 0xe0, 0xcb]);
  assertEquals(f.keyboardIrq.pulses, 6);
});

Deno.test("I8042 passes set 2 on without translation", () => {
  const f = setup();
  f.command(0x60);
  f.data(0);
  f.device.keyboard.key(0x1e, true);
  f.device.keyboard.key(0x1e, false);
  assertEquals(f.drain(), [0x1c, 0xf0, 0x1c]);
  assertEquals(f.keyboardIrq.pulses, 0);
});

Deno.test("I8042 switches the keyboard off, and on by sending to it", () => {
  const f = setup();
  f.command(0xad);
  f.device.keyboard.key(0x1e, true);
  assertEquals(f.drain(), []);
  f.data(0xee);
  assertEquals(f.drain(), [0x1e, 0xee]);
});

Deno.test("I8042 resets the machine by FE and by the output port", () => {
  const f = setup();
  f.command(0xfe);
  assertEquals(f.resets(), 1);
  f.command(0xd1);
  f.data(0xdf);
  assertEquals(f.resets(), 1);
  f.command(0xd1);
  f.data(0xfe);
  assertEquals(f.resets(), 2);
});

Deno.test("I8042 loops bytes back as keyboard or mouse", () => {
  const f = setup();
  f.command(0xd3);
  f.data(0xf0);
  assertEquals(f.status() & 0x21, 0x21);
  assertEquals(f.drain(), [0xf0]);
  f.command(0xd2);
  f.data(0x12);
  assertEquals(f.status() & 0x21, 0x01);
  assertEquals(f.drain(), [0x12]);
});

Deno.test("Ps2Keyboard answers its commands", () => {
  const f = setup();
  f.command(0x60);
  f.data(1);
  assertEquals(keyboard(f, 0xff), [0xfa, 0xaa]);
  assertEquals(keyboard(f, 0xf2), [0xfa, 0xab, 0x83]);
  assertEquals(keyboard(f, 0xed, 0x07), [0xfa, 0xfa]);
  assertEquals(f.device.keyboard.leds, 7);
  assertEquals(keyboard(f, 0xf0, 0), [0xfa, 0xfa, 2]);
  assertEquals(keyboard(f, 0xf3, 0x20), [0xfa, 0xfa]);
  assertEquals(keyboard(f, 0xee), [0xee]);
  assertEquals(keyboard(f, 0x42), [0xfa]);
  assertEquals(keyboard(f, 0xf5), [0xfa]);
  assertEquals(f.device.keyboard.key(0x1e, true), false);
  assertEquals(keyboard(f, 0xf4), [0xfa]);
  assertEquals(f.device.keyboard.key(0x1e, true), true);
});

Deno.test("Ps2Keyboard drops whole keys when its queue is full", () => {
  const f = setup();
  f.command(0x60);
  f.data(0);
  for (let i = 0; i < 20; i++) f.device.keyboard.key(0xe04b, false);
  // One byte is in the controller's buffer; four keys and two bytes of the first are behind it.
  assertEquals(f.drain().length, 15);
});

Deno.test("Ps2Mouse answers its commands", () => {
  const f = setup();
  assertEquals(mouse(f, 0xff), [0xfa, 0xaa, 0]);
  assertEquals(mouse(f, 0xf2), [0xfa, 0]);
  assertEquals(mouse(f, 0xe9), [0xfa, 0, 2, 100]);
  assertEquals(mouse(f, 0xe8, 3, 0xf3, 40, 0xe7, 0xf4), [
    ...[0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa],
  ]);
  assertEquals(mouse(f, 0xe9), [0xfa, 0x30, 3, 40]);
  assertEquals(mouse(f, 0xe1), [0xfe]);
  f.device.mouse.pointer(0, 5, 7);
  assertEquals(f.status() & 0x21, 0x21);
  assertEquals(f.drain(), [0x28, 5, 0x100 - 7]);
});

Deno.test("Ps2Mouse loses no movement", () => {
  const f = setup();
  f.command(0x60);
  f.data(2);
  mouse(f, 0xf4);
  for (let i = 1; i <= 200; i++) f.device.mouse.pointer(1, 10 * i, 0);
  const bytes = f.drain();
  assertEquals(bytes.length % 3, 0);
  let x = 0;
  for (let i = 0; i < bytes.length; i += 3) {
    assertEquals(bytes[i]! & 0x0f, 9);
    x += bytes[i + 1]!;
  }
  assertEquals(x, 2000);
  assertEquals(f.mouseIrq.pulses, bytes.length + 1);
});

Deno.test("Ps2Mouse is silent until reporting, and remote on request", () => {
  const f = setup();
  f.device.mouse.pointer(2, 3, 0);
  assertEquals(f.drain(), []);
  assertEquals(mouse(f, 0xf0, 0xeb), [0xfa, 0xfa, 0x0a, 3, 0]);
});

Deno.test("scan codes translate both ways", () => {
  for (let code = 1; code < 0x59; code++) {
    const set2 = toSet2(code);
    if (set2 !== undefined) assertEquals(toSet1(set2), code);
  }
  assertEquals(toSet2(0x41), 0x83);
  assertEquals(keySequence(0xcb, true), [0xe0, 0x6b]);
  assertEquals(keySequence(0, true), []);
});

conformance("I8042", () => setup());
