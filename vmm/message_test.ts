import { assertEquals } from "@std/assert";
import { printable, reasonOf } from "./message.ts";

Deno.test("printable() leaves nothing that steers a terminal", () => {
  assertEquals(printable("cr0[0]\t\t0x1"), "cr0[0]\t\t0x1");
  assertEquals(
    printable("a\x1b[2Jb\r\n\0\x7f\x9b"),
    "a\\x1b[2Jb\\x0d\\x0a\\x00\\x7f\\x9b",
  );
  assertEquals(printable("x\u202ey\u2028"), "x\\u{202e}y\\u{2028}");
  assertEquals(printable("größe 機"), "größe 機");
});

Deno.test("reasonOf() leaves out numbers and calls", () => {
  const error = new Error("No such file or directory (os error 2): open 'x'");
  assertEquals(reasonOf(error), "No such file or directory");
  assertEquals(reasonOf("as it is"), "as it is");
});
