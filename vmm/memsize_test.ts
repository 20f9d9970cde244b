// Sizes of memory and C's numbers.

import { assertEquals } from "@std/assert";
import { atoi, readNumber, strtoul, wholeNumber } from "./c_number.ts";
import { parseMemsize } from "./memsize.ts";

const GIB = 2 ** 30;

Deno.test("parseMemsize() reads bare numbers as MiB or bytes", () => {
  assertEquals(parseMemsize("1"), 2 ** 20);
  assertEquals(parseMemsize("256"), 256 * 2 ** 20);
  assertEquals(parseMemsize("1048575"), 1048575 * 2 ** 20);
  assertEquals(parseMemsize("1048576"), 2 ** 20);
  assertEquals(parseMemsize("0x100"), 256 * 2 ** 20);
  assertEquals(parseMemsize("0400"), 256 * 2 ** 20);
});

Deno.test("parseMemsize() reads suffixes of either case", () => {
  assertEquals(parseMemsize("512k"), 512 * 1024);
  assertEquals(parseMemsize("256M"), 256 * 2 ** 20);
  assertEquals(parseMemsize("2G"), 2 * GIB);
  assertEquals(parseMemsize("2g"), 2 * GIB);
  assertEquals(parseMemsize("1T"), 1024 * GIB);
  assertEquals(parseMemsize("0x2G"), 2 * GIB);
});

Deno.test("parseMemsize() refuses everything else", () => {
  const texts = ["", "M", "1X", "1GB", "1 G", "-1", "0", "0G", "1.5G", "9999P"];
  for (const text of texts) assertEquals(parseMemsize(text), undefined, text);
});

Deno.test("readNumber() takes signs, bases and what follows", () => {
  assertEquals(readNumber(" +12ab"), { value: 12n, rest: "ab" });
  assertEquals(readNumber("-0x10"), { value: -16n, rest: "" });
  assertEquals(readNumber("019"), { value: 1n, rest: "9" });
  assertEquals(readNumber("0x"), { value: 0n, rest: "x" });
  assertEquals(readNumber("019", 10), { value: 19n, rest: "" });
  assertEquals(readNumber("x"), undefined);
});

Deno.test("wholeNumber() keeps to its range", () => {
  const range = { least: 1, most: 10 };
  assertEquals(wholeNumber("10", range), 10);
  for (const text of ["0", "11", "1a", "", "-1", "99999999999999999999"]) {
    assertEquals(wholeNumber(text, range), undefined);
  }
});

Deno.test("strtoul() and atoi() make garbage 0", () => {
  assertEquals(strtoul("garbage"), 0n);
  assertEquals(strtoul("0x10z"), 16n);
  assertEquals(strtoul("-1"), (1n << 64n) - 1n);
  assertEquals(strtoul("0x1ffffffffffffffff"), (1n << 64n) - 1n);
  assertEquals(atoi("12abc"), 12);
  assertEquals(atoi("0x10"), 0);
  assertEquals(atoi("abc"), 0);
  assertEquals(atoi("-3"), -3);
});
