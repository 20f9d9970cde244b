import { assertEquals, assertThrows } from "@std/assert";
import {
  DEFAULT_REGIONS,
  FORCED_REGIONS,
  parseCompile,
  regionOptions,
} from "./limits.ts";

Deno.test("BHYVE_JIT switches the tier off, forces it, or sets its limits", () => {
  assertEquals(parseCompile("off"), false);
  assertEquals(parseCompile("always"), true);
  assertEquals(parseCompile(""), {});
  assertEquals(parseCompile("sync,threshold=500"), {
    sync: true,
    threshold: 500,
  });
});

Deno.test("BHYVE_JIT names what it does not know", () => {
  for (const text of ["on", "threshold=", "threshold=-1", "share=1", "a=b"]) {
    assertThrows(() => parseCompile(text), RangeError, text);
  }
});

Deno.test("options stand for what is compiled", () => {
  assertEquals(regionOptions(false), undefined);
  assertEquals(regionOptions(undefined), DEFAULT_REGIONS);
  assertEquals(regionOptions(true), FORCED_REGIONS);
  assertEquals(regionOptions({ batch: 3 }), { ...DEFAULT_REGIONS, batch: 3 });
});
