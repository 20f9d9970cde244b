// Splitting and widening of register accesses.

import { assertEquals, assertThrows } from "@std/assert";
import { allOnes, RegisterMap } from "./register_map.ts";

type Name = "a" | "b" | "c" | "d";

function setup(exact = false) {
  const values: Record<Name, number> = {
    a: 0x11223344,
    b: 0x5566,
    c: 0x77,
    d: 0x88,
  };
  const log: string[] = [];
  const map = new RegisterMap<Name>(12, [
    { offset: 0, width: 4, access: "rw", name: "a" },
    { offset: 4, width: 2, access: "ro", name: "b" },
    { offset: 6, width: 1, access: "wo", name: "c" },
    { offset: 8, width: 1, access: "w1c", name: "d" },
  ], { exact });
  const handler = map.handler({
    readRegister: (name) => {
      log.push(`r${name}`);
      return values[name];
    },
    writeRegister: (name, value) => {
      log.push(`w${name}=${value.toString(16)}`);
      values[name] = value;
    },
  });
  return { handler, log };
}

Deno.test("RegisterMap reads whole registers and parts of them", () => {
  const { handler } = setup();
  assertEquals(handler.read(0, 4), 0x11223344);
  assertEquals(handler.read(1, 1), 0x33);
  assertEquals(handler.read(2, 4), 0x55661122);
  assertEquals(handler.read(3, 2), 0x6611);
});

Deno.test("RegisterMap reads all ones from holes and write-only registers", () => {
  const { handler } = setup();
  assertEquals(handler.read(6, 1), 0xff);
  assertEquals(handler.read(7, 1), 0xff);
  assertEquals(handler.read(4, 4), 0xffff5566);
  assertEquals(handler.read(0, 8), 0xffff5566_11223344n);
  assertEquals(handler.read(11, 4), 0xffffffff);
});

Deno.test("RegisterMap merges partial writes of read-write registers", () => {
  const { handler, log } = setup();
  handler.write(1, 2, 0xabcdn);
  assertEquals(log, ["ra", "wa=11abcd44"]);
});

Deno.test("RegisterMap splits writes and drops read-only parts", () => {
  const { handler, log } = setup();
  handler.write(4, 4, 0xdd_cc_bbaan);
  assertEquals(log, ["wc=cc"]);
  handler.write(8, 8, 0xffff_ffff_ffff_fff0n);
  assertEquals(log, ["wc=cc", "wd=f0"]);
});

Deno.test("RegisterMap with exact refuses other widths", () => {
  const { handler, log } = setup(true);
  assertEquals(handler.read(0, 2), 0xffff);
  assertEquals(handler.read(4, 2), 0x5566);
  handler.write(0, 1, 1n);
  assertEquals(log, ["rb"]);
});

Deno.test("RegisterMap refuses overlaps", () => {
  assertThrows(
    () =>
      new RegisterMap(2, [
        { offset: 0, width: 2, access: "rw", name: "x" },
        { offset: 1, width: 1, access: "rw", name: "y" },
      ]),
    RangeError,
  );
  assertEquals(allOnes(2), 0xffff);
  assertEquals(allOnes(8), 2n ** 64n - 1n);
});
