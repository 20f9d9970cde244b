import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { md5 } from "./md5.ts";

const hex = (bytes: Uint8Array) =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

Deno.test("digests of RFC 1321's suite", () => {
  assertEquals(hex(md5("")), "d41d8cd98f00b204e9800998ecf8427e");
  assertEquals(hex(md5("abc")), "900150983cd24fb0d6963f7d28e17f72");
});

Deno.test("texts of all lengths around a block's end", () => {
  for (let length = 0; length < 200; length++) {
    const text = "/dév/".repeat(40).slice(0, length);
    const expected = createHash("md5").update(text).digest("hex");
    assertEquals(hex(md5(text)), expected, `${length} characters`);
  }
});
