// The log of compiled code: what asks for it, and its lines.

import { assertEquals } from "@std/assert";
import { CompileLog, parseLog, sayTo } from "./compile_log.ts";
import type { RegionStatistics } from "../vmm/cpu/regions/tier.ts";

const NONE: RegionStatistics = {
  ...{ regions: 0, blocks: 0, modules: 0, bytes: 0, dropped: 0 },
  ...{ late: 0, failed: 0, live: 0, milliseconds: 0 },
};

Deno.test("the log is asked for between BHYVE_JIT's other words", () => {
  assertEquals(parseLog(""), { rest: "" });
  assertEquals(parseLog("log"), { rest: "", file: "" });
  assertEquals(parseLog("always,log"), { rest: "always", file: "" });
  assertEquals(parseLog("sync,log=a=b,threshold=9"), {
    rest: "sync,threshold=9",
    file: "a=b",
  });
  assertEquals(parseLog("log=,logs"), { rest: "log=,logs" });
});

Deno.test("a line a module and vCPU, and sums at the end", () => {
  const lines: string[] = [];
  const log = new CompileLog((line) => lines.push(line));
  const first = { ...NONE, regions: 2, blocks: 5, modules: 1, bytes: 900 };
  log.told(0, { ...first, milliseconds: 1.25 });
  log.told(1, { ...NONE, failed: 1 });
  const second = { ...first, regions: 3, blocks: 6, modules: 2, bytes: 1000 };
  log.told(0, { ...second, milliseconds: 2, dropped: 2, late: 1, live: 1 });
  assertEquals(lines.splice(0), [
    "bhyve: jit: vcpu 0: 2 regions of 5 blocks, 900 bytes, 1.3 ms, 0 dropped",
    "bhyve: jit: vcpu 0: 1 regions of 1 blocks, 100 bytes, 0.8 ms, 2 dropped, " +
    "1 late",
  ]);
  log.end();
  log.end();
  assertEquals(lines, [
    "bhyve: jit: vcpu 0: in all 3 regions of 6 blocks, 1000 bytes, 2.0 ms, " +
    "2 dropped, 1 late; 2 modules, 1 regions left",
    "bhyve: jit: vcpu 1: in all 0 regions of 0 blocks, 0 bytes, 0.0 ms, " +
    "0 dropped, 1 batches failed; 0 modules, 0 regions left",
  ]);
});

Deno.test("a log's file is added to", async () => {
  const file = await Deno.makeTempFile();
  try {
    sayTo(file)("one");
    sayTo(file)("two");
    assertEquals(await Deno.readTextFile(file), "one\ntwo\n");
  } finally {
    await Deno.remove(file);
  }
});
