import { assertEquals } from "@std/assert";
import { CodeExt } from "iced-x86";
import { X87_FORMS } from "./forms/x87.ts";
import { x87Opcodes } from "./x87_opcodes.ts";

Deno.test("opcodes of the x87 are those of the decoder's table", () => {
  const ours = x87Opcodes();
  for (const { name, code, unit } of X87_FORMS) {
    const { opCode, groupIndex } = CodeExt.opCode(code);
    if (unit !== "x87" || opCode >> (opCode > 0xff ? 11 : 3) !== 0x1b) continue;
    const expected = opCode > 0xff
      ? opCode & 0x7ff
      : (opCode & 7) << 8 | groupIndex << 3;
    assertEquals(ours.get(code), expected, name);
  }
});
