// From a guest's lines to the table, without a guest.

import { assertEquals, assertThrows } from "@std/assert";
import { figuresOf, mediansOf } from "./figures.ts";
import { LINES, wordOf } from "./lines.ts";
import { parsePeersOptions } from "./options.ts";
import type { Arrival } from "./run.ts";
import { tableLines } from "./table.ts";

const MIB = 2 ** 20;

function arrivals(...lines: readonly [number, string, number][]): Arrival[] {
  return lines.map(([at, text, mib]) => ({
    at,
    text,
    usage: { peak: mib * MIB, cpu: at * 2 },
  }));
}

Deno.test("a line takes from the line before it, or from its own start", () => {
  const figures = figuresOf({
    arrivals: arrivals(
      [4, "GUEST-UP 3.50", 90],
      [5, "bench int_sha256 9.9", 100],
      [5.5, "bench int_fib 9.9", 120],
      [7, "start app_lua", 121],
      [7.25, "bench app_lua", 130],
      [8, "failed app_xz", 130],
      [9, "GUEST-DOWN", 140],
    ),
  });
  assertEquals(Object.fromEntries(figures), {
    "start to GUEST-UP": 4,
    int_sha256: 1,
    int_fib: 0.5,
    app_lua: 0.25,
    "total of guestbench": 1.5,
    "peak RSS after guestbench, MiB": 120,
    "processor time, whole run": 18,
    "peak RSS at the end, MiB": 140,
  });
});

Deno.test("a run that prints nothing has no figures", () => {
  assertEquals(figuresOf({ arrivals: [], failure: "why" }).size, 0);
});

Deno.test("medians, and a table with what is missing", () => {
  const runs = [3, 1, 2].map((value) => new Map([["int_fib", value]]));
  const ours = { name: "bhyve64", figures: mediansOf(runs) };
  const theirs = { name: "qemu64", figures: new Map([["mem_copy", 0.5]]) };
  const fast = { name: "bochs64", figures: new Map([["int_fib", 40]]) };
  assertEquals(tableLines("seconds", ours, [theirs, fast]), [
    "| seconds | bhyve64 | qemu64 | bochs64 | of qemu64 | of bochs64 |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
    "| int_fib | 2.00 | – | 40.0 | – | 0.050 |",
    "| mem_copy | – | 0.500 | – | – | – |",
  ]);
  assertEquals(mediansOf(runs.slice(1)).get("int_fib"), 1.5);
});

Deno.test("peers and lines are chosen by name, in the order of the table", () => {
  const { peers, lines, runs, limit } = parsePeersOptions([
    ...["--peers", "v86,bhyve32", "--lines", "app_xz,int_fib", "--runs", "5"],
  ]);
  assertEquals(peers.map(({ name }) => name), ["bhyve32", "v86"]);
  assertEquals(wordOf(lines), "lines=int_fib,app_xz");
  assertEquals([runs, limit], [5, 1500]);
  assertEquals(wordOf(LINES), "lines=all");
});

Deno.test("what is not understood is refused", () => {
  for (
    const args of [
      ["--peers", "qemu"],
      ["--runs", "0"],
      ["--runs"],
      ["--all", "1"],
    ]
  ) {
    assertThrows(() => parsePeersOptions(args), RangeError);
  }
});
