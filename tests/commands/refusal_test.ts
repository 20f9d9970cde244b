// Command lines that cannot be followed: the error names the thing, the status is
// bhyve's, and nothing is left in the vmm root.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { bareKernel } from "../guests/bare.ts";
import { type CommandName } from "./harness/commands.ts";
import { loadBareMachine } from "./harness/bare_machine.ts";
import { TestHost } from "./harness/test_host.ts";

/** A command line, its status, and what its complaint contains. */
interface Refusal {
  readonly command: CommandName;
  /** `DIR` stands for the test's directory */
  readonly args: readonly string[];
  readonly status: number;
  readonly says: readonly string[];
}

/** Starts without a loader, so that only the rest can be wrong. */
const KERNEL = ["-o", "loader.kernel=DIR/kernel", "-m", "32M"];

function disk(path: string, status: number, ...says: string[]): Refusal {
  const args = [...KERNEL, "-s", `3,virtio-blk,${path}`, "new"];
  return { command: "bhyve", args, status, says: [path, ...says] };
}

function bhyve(args: string[], status: number, ...says: string[]): Refusal {
  return { command: "bhyve", args, status, says };
}

function load(path: string, status: number, ...says: string[]): Refusal {
  const args = ["-m", "32M", "--kernel", path, "new"];
  return { command: "bhyveload", args, status, says: [path, ...says] };
}

const REFUSALS: readonly Refusal[] = [
  disk("DIR/none.img", 4, "o such file"),
  disk("DIR", 4, "directory"),
  disk("DIR/secret", 4, "ermission"),
  bhyve(["-o", "loader.kernel=DIR/none", "new"], 4, "DIR/none", "o such file"),
  bhyve(["-o", "loader.kernel=DIR", "new"], 4, "DIR", "directory"),
  bhyve([...KERNEL, "-o", "loader.initrd=DIR/none", "new"], 4, "DIR/none"),
  bhyve(["-o", "loader.kernel=DIR/text", "new"], 4, "DIR/text", "text file"),
  bhyve(["new"], 4, "new", "bhyveload"),
  bhyve([], 1, "Usage"),
  bhyve(["-m", "much", "new"], 64, "much"),
  bhyve(["-k", "DIR/none.conf", "new"], 4, "DIR/none.conf"),
  bhyve([...KERNEL, "-s", "3,nosuch", "new"], 4, "nosuch"),
  bhyve([...KERNEL, "-s", "40,hostbridge", "new"], 4, "40"),
  bhyve(
    [...KERNEL, "-s", "31,lpc", "-l", "com1,DIR/text", "new"],
    4,
    ...["DIR/text", "terminal"],
  ),
  load("DIR/none", 64, "o such file"),
  load("DIR", 64, "directory"),
  load("DIR/secret", 64, "ermission"),
  load("DIR/text", 1, "text file"),
  load("DIR/cut", 1),
  {
    command: "bhyveload",
    args: ["-h", "DIR/none", "new"],
    status: 64,
    says: ["DIR/none"],
  },
  {
    command: "bhyveload",
    args: ["-d", "DIR/none.img", "new"],
    status: 64,
    says: ["DIR/none.img"],
  },
  {
    command: "bhyveload",
    args: ["new"],
    status: 64,
    says: ["nothing to load"],
  },
  { command: "bhyvectl", args: ["--create"], status: 1, says: ["Usage"] },
];

// The super-user reads everything, unless those capabilities are taken away.
function wrapperFor(uid: number | null): string[] {
  return uid === 0
    ? ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    : [];
}

async function makeFiles(host: TestHost): Promise<void> {
  const kernel = await Deno.readFile(await bareKernel("multiboot"));
  await Deno.writeFile(host.path("kernel"), kernel);
  await Deno.writeFile(host.path("cut"), kernel.subarray(0, 5000));
  await Deno.writeTextFile(host.path("text"), "no kernel\n");
  await Deno.writeFile(host.path("secret"), kernel, { mode: 0o000 });
}

// What is not as it should be about a refusal.
async function faultsOf(host: TestHost, row: Refusal): Promise<string[]> {
  const place = (text: string) => text.replaceAll("DIR", host.directory);
  const args = row.args.map(place);
  const wrapper = wrapperFor(Deno.uid());
  const { code, err } = await host.run(row.command, args, { wrapper });
  const missing = row.says.map(place).filter((text) => !err.includes(text));
  const faults = [
    ...code === row.status ? [] : [`status ${code}, expected ${row.status}`],
    ...missing.map((text) => `"${text}" is missing`),
    ...err.includes("    at ") ? ["a stack trace"] : [],
    ...host.leftovers().map((path) => `${path} is left`),
  ];
  const line = [row.command, ...row.args].join(" ");
  return faults.map((fault) => `${line}: ${fault}: ${err}`);
}

Deno.test("What cannot be followed is refused and leaves nothing", async () => {
  await using host = await TestHost.create();
  await makeFiles(host);
  const faults: string[] = [];
  for (const row of REFUSALS) faults.push(...await faultsOf(host, row));
  assertEquals(faults, []);
});

Deno.test("A refusal leaves a loaded machine as it is", async () => {
  await using host = await TestHost.create();
  await loadBareMachine(host, "kept", "poweroff");
  const args = ["-H", "-s", "31,lpc", "-l", "com1,stdio", "kept"];
  const size = await host.run("bhyve", ["-m", "64M", ...args]);
  assertEquals(size.code, 4);
  assertStringIncludes(size.err, "64 MiB");
  const none = host.path("none.img");
  const missing = ["-m", "32M", "-s", `3,virtio-blk,${none}`, ...args];
  assertEquals((await host.run("bhyve", missing)).code, 4);
  assertEquals((await host.run("bhyve", ["-m", "32M", ...args])).code, 1);
});

/** Grants, a command line, and the flag that the complaint names. */
const UNGRANTED: readonly (readonly [CommandName, string[], string])[] = [
  ["bhyve", [...KERNEL, "new"], "--allow-read=DIR/kernel"],
  [
    "bhyve",
    ["-m", "32M", "-s", "3,virtio-blk,DIR/disk,ro", "new"],
    "--allow-read=DIR/disk",
  ],
  [
    "bhyve",
    ["-m", "32M", "-s", "3,virtio-blk,DIR/disk", "new"],
    "--allow-write=DIR/disk",
  ],
  [
    "bhyve",
    ["-m", "32M", "-s", "31,lpc", "-l", "com1,tcp=127.0.0.1:5555", "new"],
    "--allow-net=127.0.0.1:5555",
  ],
  ["bhyveload", ["--kernel", "DIR/kernel", "new"], "--allow-read=DIR/kernel"],
  ["bhyveload", ["-d", "DIR/disk", "new"], "--allow-read=DIR/disk"],
  ["bhyveload", ["-h", "DIR/tree", "new"], "--allow-read=DIR/tree"],
];

Deno.test("A missing permission is named with the flag that grants it", async () => {
  await using host = await TestHost.create();
  await makeFiles(host);
  await Deno.writeFile(host.path("disk"), new Uint8Array(1 << 20));
  await Deno.mkdir(host.path("tree"));
  const sockets = `${host.root}/run`;
  const grants = { read: [host.root], write: [host.root], sockets };
  const place = (text: string) => text.replaceAll("DIR", host.directory);
  for (const [command, args, flag] of UNGRANTED) {
    const { code, err } = await host.run(command, args.map(place), {
      grants,
    });
    assertEquals(code, command === "bhyve" ? 4 : 64, err);
    assertStringIncludes(err, place(flag));
    assertEquals(host.leftovers(), []);
  }
});
