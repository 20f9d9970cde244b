// Every option of bhyveload(8), its default and what refuses its values.

import { assertEquals } from "@std/assert";
import { LOAD_USAGE } from "./option_table.ts";
import {
  couldNotOpen,
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
    [
      ["--kernel", "a", "--kernel=b"],
      "bhyveload: --kernel can only be given once",
    ],
    [
      ["--kernel", "a", "-d", "b"],
      "bhyveload: -d cannot be given with --kernel",
    ],
    [
      ["--kernel", "a", "-h", "b"],
      "bhyveload: -h cannot be given with --kernel",
    ],
    [["--initrd", "a"], "bhyveload: --initrd needs --kernel"],
    [["--append", "a"], "bhyveload: --append needs --kernel"],
    [disks, "bhyveload: Could not open '/disk32': expected at most 32 disks"],
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
  const rows: [string[], string][] = [
    [["--nothing", "vm"], "unrecognized option `--nothing'"],
    [["--kernel"], "option `--kernel' requires an argument"],
    [["--k", "a"], ""],
    [["-S", "--kernel", "a", "-z", "vm"], "illegal option -- z"],
  ];
  for (const [args, message] of rows) {
    const { status, err } = refused(...args);
    assertEquals(status, 1);
    if (message !== "") assertEquals(err[0], `bhyveload: ${message}`);
  }
});

Deno.test("A kernel that is one file is named by long options", () => {
  const kernel = { file: "/k", initrd: "/i", append: "a b" };
  const rows = [
    ["--kernel", "/k", "--initrd", "/i", "--append", "a b", "-Sm1G", "vm"],
    ["-S", "--kernel=/k", "-m", "1G", "--initrd=/i", "--app=a b", "vm"],
    [
      "--append=a b",
      "-m1G",
      "-S",
      "--kern",
      "/k",
      "--initrd",
      "/i",
      "--",
      "vm",
    ],
  ];
  for (const args of rows) {
    const command = run(...args);
    assertEquals(command.kernel, kernel);
    const { memory, wired, name } = command;
    assertEquals([memory, wired, name], [2 ** 30, true, "vm"]);
  }
  assertEquals(run("--kernel", "--append", "vm").kernel, { file: "--append" });
  assertEquals(run("-e", "--kernel", "vm").kernel, undefined);
});

Deno.test("The help has every option and exit status 0", () => {
  for (const args of [["--help"], ["--kernel", "a", "--help"], ["--h"]]) {
    const { status, out, err } = refused(...args);
    assertEquals([status, err], [0, []]);
    for (const option of ["-c <", "-C ", "-d", "-S", "--kernel <file>"]) {
      assertEquals(out.some((line) => line.includes(option)), true, option);
    }
    assertEquals(out.every((line) => line.length <= 80), true, out.join("\n"));
  }
});
