// The configuration tree: names, references, booleans, files, dump.

import { assertEquals, assertThrows } from "@std/assert";
import {
  applyConfigFile,
  ConfigError,
  ConfigNode,
  splitSetting,
} from "./config.ts";

function tree(values: Record<string, string>) {
  const warnings: string[] = [];
  const config = new ConfigNode("", undefined, (m) => warnings.push(m));
  for (const [key, value] of Object.entries(values)) config.set(key, value);
  return { config, warnings };
}

Deno.test("ConfigNode sets and reads values by path", () => {
  const { config } = tree({ "pci.0.3.0.device": "lpc", name: "vm" });
  assertEquals(config.get("pci.0.3.0.device"), "lpc");
  const node = config.find("pci.0.3.0")!;
  assertEquals(node.get("device"), "lpc");
  assertEquals([node.path, node.name, node.keys], ["pci.0.3.0", "0", [
    "device",
  ]]);
  assertEquals(config.find("pci")!.nodes.map((n) => n.path), ["pci.0"]);
  assertEquals(config.get("pci"), undefined);
  assertEquals(config.get("name.x"), undefined);
  assertEquals(config.find("name"), undefined);
  config.set("name", "other");
  assertEquals(config.get("name"), "other");
  config.delete("name");
  assertEquals(config.get("name"), undefined);
});

Deno.test("A node and a value cannot share a name", () => {
  const { config } = tree({ "a.b": "1", c: "2" });
  for (const path of ["a", "c.d"]) {
    const error = assertThrows(() => config.set(path, "x"), ConfigError);
    assertEquals(error.status, 4);
  }
  assertThrows(() => config.node("c"), ConfigError, "has a value already");
});

Deno.test("References are replaced when a value is read", () => {
  const { config, warnings } = tree({
    a: "%(b)-%(x.y)",
    b: "<%(c)>",
    c: "end",
    "x.y": "deep",
  });
  assertEquals(config.get("a"), "<end>-deep");
  config.set("c", "later");
  assertEquals(config.get("a"), "<later>-deep");
  assertEquals(config.raw("a"), "%(b)-%(x.y)");
  assertEquals(config.find("x")!.get("y"), "deep");
  assertEquals(warnings, []);
});

Deno.test("Percent signs and backslashes quote", () => {
  const { config } = tree({
    a: "100%%",
    b: "\\%(c)",
    c: "50% \\\\ %(",
    d: "\\",
  });
  assertEquals(config.get("a"), "100%");
  assertEquals(config.get("b"), "%(c)");
  assertEquals(config.get("c"), "50% \\ %(");
  assertEquals(config.get("d"), "\\");
});

Deno.test("Unknown and endless references warn", () => {
  const { config, warnings } = tree({ a: "x%(none)y", loop: "%(loop)" });
  assertEquals(config.get("a"), "xy");
  assertEquals(warnings, ["Invalid reference to unknown variable 'none'"]);
  assertEquals(config.get("loop"), "");
  assertEquals(warnings.length, 2);
});

Deno.test("References reach fifteen levels", () => {
  const values = Object.fromEntries(
    Array.from({ length: 16 }, (_, n) => [`v${n}`, `%(v${n + 1})`]),
  );
  const { config, warnings } = tree({ ...values, v16: "end" });
  assertEquals(config.get("v1"), "end");
  assertEquals(warnings, []);
  assertEquals(config.get("v0"), "");
  assertEquals(warnings.length, 1);
});

Deno.test("Booleans take bhyve's words in either case", () => {
  const { config } = tree({ n: "2" });
  for (const word of ["true", "ON", "Yes", "1"]) {
    config.set("b", word);
    assertEquals(config.getBool("b"), true);
  }
  for (const word of ["false", "Off", "no", "0"]) {
    config.set("b", word);
    assertEquals(config.getBool("b"), false);
  }
  assertEquals(config.getBool("none"), undefined);
  assertEquals(config.getBool("none", true), true);
  assertThrows(
    () => config.getBool("n"),
    ConfigError,
    "Invalid value 2 for boolean variable n",
  );
});

Deno.test("applyConfigFile() skips comments and names bad lines", () => {
  const { config } = tree({ name: "old" });
  applyConfigFile(config, "# comment\n\nname=new\na.b=x=y\n", "f");
  assertEquals(config.get("name"), "new");
  assertEquals(config.get("a.b"), "x=y");
  for (const line of ["bad", "=x", "x="]) {
    assertThrows(
      () => applyConfigFile(config, `\n${line}\n`, "f"),
      ConfigError,
      `f line 2: invalid config option '${line}'`,
    );
  }
});

Deno.test("dump() lists every value with its path", () => {
  const { config } = tree({
    name: "vm",
    "pci.0.1.0.device": "lpc",
    t: "%(name)",
  });
  assertEquals(config.dump(), ["name=vm", "pci.0.1.0.device=lpc", "t=vm"]);
});

Deno.test("splitSetting() wants both sides", () => {
  assertEquals(splitSetting("a=b=c"), ["a", "b=c"]);
  for (const text of ["", "a", "a=", "=b"]) {
    assertEquals(splitSetting(text), undefined);
  }
});
