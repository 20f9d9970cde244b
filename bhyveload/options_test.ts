// Every option of bhyveload(8), its default and what refuses its values.

import { assertEquals } from "@std/assert";
import {
  couldNotOpen,
  LOAD_USAGE,
  type LoadCommand,
  type LoadUsage,
  parseLoadOptions,
} from "./options.ts";

function run(...args: string[]): LoadCommand {
  const command = parseLoadOptions(args);
  if (command.kind !== "run") throw new Error(command.err[0]);
  return command;
}

function refused(...args: string[]): LoadUsage {
  const command = parseLoadOptions(args);
  if (command.kind !== "exit") throw new Error(`${args} were accepted`);
  return command;
}

Deno.test("Defaults", () => {
  assertEquals(run("vm"), {
    kind: "run",
    name: "vm",
    memory: 256 * 2 ** 20,
    console: "stdio",
    disks: [],
    environment: ["smbios.bios.vendor=BHYVE", "boot_serial=1"],
    wired: false,
    inCore: false,
  });
});

Deno.test("Every option is taken", () => {
  const command = run(
    ...["-CS", "-c", "/dev/nmdm0A", "-d", "/a", "-d/b", "-e", "x=1"],
    ...["-e", "y", "-h", "/host", "-l", "/loader.so", "-m", "2G", "vm"],
  );
  assertEquals(command, {
    kind: "run",
    name: "vm",
    memory: 2 ** 31,
    console: "/dev/nmdm0A",
    disks: ["/a", "/b"],
    environment: ["smbios.bios.vendor=BHYVE", "boot_serial=1", "y", "x=1"],
    hostBase: "/host",
    loader: "/loader.so",
    wired: true,
    inCore: true,
  });
  assertEquals(run("-m", "64", "vm").memory, 64 * 2 ** 20);
});

Deno.test("Bad values are refused with exit status 64", () => {
  const disks = Array.from({ length: 33 }, (_, n) => ["-d", `/disk${n}`])
    .flat();
  const rows: [string[], string][] = [
    [["-m", "x"], "bhyveload: Invalid memsize 'x'"],
    [["-l", "a", "-l", "b"], "bhyveload: -l can only be given once"],
    [disks, "bhyveload: Could not open '/disk32'"],
  ];
  for (const [args, message] of rows) {
    assertEquals(refused(...args, "vm"), {
      kind: "exit",
      status: 64,
      out: [],
      err: [message],
    });
  }
  assertEquals(run(...disks.slice(2), "vm").disks.length, 32);
  assertEquals(couldNotOpen("/x").err, ["bhyveload: Could not open '/x'"]);
});

Deno.test("Other command lines get the usage and exit status 1", () => {
  for (const args of [[], ["a", "b"], ["vm", "-S"]]) {
    const { status, err } = refused(...args);
    assertEquals([status, err], [1, LOAD_USAGE]);
  }
  assertEquals(refused("-z", "vm").err[0], "bhyveload: illegal option -- z");
  assertEquals(refused("-m").status, 1);
});
