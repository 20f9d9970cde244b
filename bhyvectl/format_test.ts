// Numbers, sizes, times and hostile text as bhyvectl writes them.

import { assertEquals } from "@std/assert";
import { hex, humanSize, shortHex, utcTime, VALUE_FORMATS } from "./format.ts";

Deno.test("Hexadecimal is padded, or as short as can be", () => {
  assertEquals(hex(0x8005_0033n, 16), "0x0000000080050033");
  assertEquals(hex(-1n, 16), "0xffffffffffffffff");
  assertEquals(shortHex(0n), "0");
  assertEquals(shortHex(0x60n), "0x60");
  const value = 0x1_2345_6789n;
  assertEquals(
    Object.values(VALUE_FORMATS).map((format) => format(value)),
    ["0x0000000123456789", "0x23456789", "0x123456789", "0x123456789"],
  );
  assertEquals(VALUE_FORMATS.H4(0x10n), "0x0010");
});

Deno.test("humanSize() takes the largest unit that fits exactly", () => {
  const rows: [number, string][] = [
    [0, "0B"],
    [1023, "1023B"],
    [4096, "4KB"],
    [2 << 20, "2MB"],
    [128 << 20, "128MB"],
    [1.5 * 2 ** 30, "1536MB"],
    [3 * 2 ** 30, "3GB"],
    [2 ** 50, "1PB"],
  ];
  for (const [bytes, text] of rows) assertEquals(humanSize(bytes), text);
});

Deno.test("utcTime() is asctime's, with two digits for the day", () => {
  assertEquals(utcTime(0n), "Thu Jan 01 00:00:00 1970");
  assertEquals(utcTime(951_827_696n), "Tue Feb 29 12:34:56 2000");
  assertEquals(utcTime(-1n), "Wed Dec 31 23:59:59 1969");
  assertEquals(utcTime(1n << 62n), "UNK");
});
