// Combined and attached short options, long options and their prefixes.

import { assertEquals } from "@std/assert";
import { getopt, getoptLong } from "./getopt.ts";

Deno.test("getopt() reads combined letters and arguments", () => {
  assertEquals(getopt(["-AHm1G", "-s", "0,x", "--", "-v", "w"], "AHm:s:"), {
    options: [
      { option: "A" },
      { option: "H" },
      { option: "m", argument: "1G" },
      { option: "s", argument: "0,x" },
    ],
    rest: ["-v", "w"],
  });
});

Deno.test("getopt() stops at the first word that is no option", () => {
  assertEquals(getopt(["-A", "vm", "-H"], "AH"), {
    options: [{ option: "A" }],
    rest: ["vm", "-H"],
  });
  assertEquals(getopt(["-"], "A").rest, ["-"]);
});

Deno.test("getopt() says what is wrong", () => {
  assertEquals(getopt(["-Az"], "A").error, "illegal option -- z");
  assertEquals(getopt(["-:"], "A:").error, "illegal option -- :");
  assertEquals(getopt(["-A"], "A:").error, "option requires an argument -- A");
});

const SPEC = new Map([["vm", true], ["get-cr0", false], ["get-cr2", false], [
  "get",
  false,
]]);

Deno.test("getoptLong() reads arguments in either form, and prefixes", () => {
  assertEquals(getoptLong(["--vm=a=b", "x", "--get-cr0", "--v", "c"], SPEC), {
    options: [
      { option: "vm", argument: "a=b" },
      { option: "get-cr0" },
      { option: "vm", argument: "c" },
    ],
  });
  assertEquals(getoptLong(["--get", "--", "--bad"], SPEC).options, [
    { option: "get" },
  ]);
});

Deno.test("getoptLong() says what is wrong", () => {
  const errors = [
    ["--none=1", "unrecognized option `--none=1'"],
    ["--get-cr", "option `--get-cr' is ambiguous"],
    ["--vm", "option `--vm' requires an argument"],
    ["--get-cr0=1", "option `--get-cr0' doesn't allow an argument"],
    ["-x", "invalid option -- x"],
  ] as const;
  for (const [word, error] of errors) {
    assertEquals(getoptLong([word], SPEC).error, error);
  }
});
