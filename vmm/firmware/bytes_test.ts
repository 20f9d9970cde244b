// Field widths, ranges and checksums of the byte writer.

import { assertEquals, assertThrows } from "@std/assert";
import { ByteWriter, checksum8, FirmwareError } from "./bytes.ts";

Deno.test("ByteWriter writes little-endian fields", () => {
  const bytes = new ByteWriter().u8(1).u16(0x302).u32(0xffee_0504)
    .u64(0x1122_3344_5566_7788n).finish();
  assertEquals(
    [...bytes],
    [1, 2, 3, 4, 5, 0xee, 0xff]
      .concat([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
  );
});

Deno.test("ByteWriter pads text and aligns", () => {
  const writer = new ByteWriter().text("AB", 4, 0x20).text("C").align(8);
  assertEquals([...writer.finish()], [65, 66, 32, 32, 67, 0, 0, 0]);
  assertEquals(writer.align(8).length, 8);
});

Deno.test("ByteWriter grows past its first buffer", () => {
  const bytes = new ByteWriter().zeros(255).u32(0xdead_beef).finish();
  assertEquals(bytes.length, 259);
  assertEquals([...bytes.subarray(255)], [0xef, 0xbe, 0xad, 0xde]);
});

Deno.test("ByteWriter refuses what does not fit", () => {
  const writer = new ByteWriter();
  const refused: (() => void)[] = [
    () => writer.u8(256),
    () => writer.u16(-1),
    () => writer.u32(1.5),
    () => writer.u32(2 ** 32),
    () => writer.u64(-1n),
    () => writer.u64(1n << 64n),
    () => writer.text("ABC", 2),
    () => writer.text("é"),
  ];
  for (const write of refused) assertThrows(write, FirmwareError);
});

Deno.test("checksum8() completes a sum to zero", () => {
  assertEquals(checksum8([]), 0);
  assertEquals(checksum8([1, 2, 0xff]), 0xfe);
});
