// Every option of bhyve(8): the keys that it sets, and what refuses its values
// with which text and exit status.

import { assert, assertEquals } from "@std/assert";
import {
  type ExitCommand,
  type OptionHost,
  parseOptions,
  type RunCommand,
  usage,
} from "./options.ts";

const HOST: OptionHost = {
  readFile(path) {
    const text: Record<string, string> = {
      good: "# a comment\nname=filed\nmemory.size=1G\n",
      bad: "\nnonsense\n",
    };
    if (text[path] === undefined) throw new Error("No such file or directory");
    return text[path];
  },
};

function run(...args: string[]): RunCommand {
  const command = parseOptions(args, HOST);
  if (command.kind !== "run") throw new Error(command.err.join("\n"));
  return command;
}

function exits(...args: string[]): ExitCommand {
  const command = parseOptions(args, HOST);
  if (command.kind !== "exit") throw new Error(`${args} were accepted`);
  return command;
}

const FLAGS: readonly (readonly [string, string, string])[] = [
  ["-a", "x86.x2apic", "false"],
  ["-C", "memory.guest_in_core", "true"],
  ["-D", "destroy_on_poweroff", "true"],
  ["-e", "x86.strictio", "true"],
  ["-H", "x86.vmexit_on_hlt", "true"],
  ["-M", "monitor", "true"],
  ["-P", "x86.vmexit_on_pause", "true"],
  ["-S", "memory.wired", "true"],
  ["-u", "rtc.use_localtime", "false"],
  ["-w", "x86.strictmsr", "false"],
  ["-W", "virtio_msix", "false"],
  ["-x", "x86.x2apic", "true"],
  ["-Y", "x86.mptable", "false"],
];

Deno.test("Flags set their keys", () => {
  for (const [option, key, value] of FLAGS) {
    assertEquals(run(option, "vm").config.get(key), value, option);
  }
});

Deno.test("-A and -I change nothing", () => {
  assertEquals(run("-AI", "vm").config.dump(), run("vm").config.dump());
});

Deno.test("Defaults", () => {
  const command = run("vm");
  assertEquals(command.config.dump(), [
    "acpi_tables=true",
    "acpi_tables_in_memory=true",
    "memory.size=256M",
    "x86.strictmsr=true",
    "lpc.fwcfg=bhyve",
    "name=vm",
  ]);
  assertEquals(command.memory, 256 * 2 ** 20);
  assertEquals(command.topology, { cpus: 1, sockets: 1, cores: 1, threads: 1 });
  assertEquals([command.domains, command.fwcfg, command.warnings], [
    [],
    [],
    [],
  ]);
});

const VALUES: readonly (readonly [string[], Record<string, string>])[] = [
  [["-m", "2G"], { "memory.size": "2G" }],
  [["-m512"], { "memory.size": "512" }],
  [["-U", "not-checked-here"], { uuid: "not-checked-here" }],
  [["-K", "de"], { "keyboard.layout": "de" }],
  [["-o", "a.b=c=d"], { "a.b": "c=d" }],
  [["-k", "good"], { name: "vm", "memory.size": "1G" }],
  [["-G", "1234"], { "gdb.port": "1234" }],
  [["-G", "w:1234"], { "gdb.wait": "true", "gdb.port": "1234" }],
  [["-G", "w0.0.0.0:1"], {
    "gdb.wait": "true",
    "gdb.address": "0.0.0.0",
    "gdb.port": "1",
  }],
  [["-G", "::1:99"], { "gdb.address": "::1", "gdb.port": "99" }],
  [["-p", "0:1", "-p", "0:3", "-p", "1:2"], {
    "vcpu.0.cpuset": "1,3",
    "vcpu.1.cpuset": "2",
  }],
  [["-n", "id=0,size=1G,cpus=0,2-3,domain_policy=first-touch:0,odd=1"], {
    "domains.0.size": "1G",
    "domains.0.cpus": "0,2-3",
    "domains.0.domain_policy": "first-touch:0",
  }],
];

Deno.test("Options with arguments set their keys", () => {
  for (const [args, keys] of VALUES) {
    const { config } = run(...args, "vm");
    for (const [key, value] of Object.entries(keys)) {
      assertEquals(config.get(key), value, `${args}: ${key}`);
    }
  }
});

const REFUSED: readonly (readonly [string[], number, ...string[]])[] = [
  [["-m", "x"], 64, "bhyve: invalid memsize 'x'"],
  [["-o", "memory.size=x"], 64, "bhyve: invalid memsize 'x'"],
  [["-o", "x"], 64, "bhyve: invalid configuration option 'x'"],
  [["-o", "=x"], 64, "bhyve: invalid configuration option '=x'"],
  [["-o", "x="], 64, "bhyve: invalid configuration option 'x='"],
  [
    ["-p", "x"],
    64,
    "invalid format: x",
    "bhyve: invalid vcpu pinning configuration 'x'",
  ],
  [
    ["-p", "-1:0"],
    64,
    "invalid vcpu '-1'",
    "bhyve: invalid vcpu pinning configuration '-1:0'",
  ],
  [
    ["-p", "0:1024"],
    64,
    "hostcpu '1024' outside valid range from 0 to 1023",
    "bhyve: invalid vcpu pinning configuration '0:1024'",
  ],
  [["-f", "x"], 64, "bhyve: invalid fwcfg item 'x'"],
  [["-f", "x,other=y"], 64, "bhyve: invalid fwcfg item 'x,other=y'"],
  [["-G", "x"], 64, "bhyve: invalid gdb configuration 'x'"],
  [["-G", "1:70000"], 64, "bhyve: invalid gdb configuration '1:70000'"],
  [["-n", "size=1G"], 64, "bhyve: invalid NUMA domain configuration 'size=1G'"],
  [["-n", "id=256"], 64, "bhyve: invalid NUMA domain configuration 'id=256'"],
  [["-n", "id=0,size=1G"], 4, "bhyve: NUMA domain 0 has no cpus"],
  [
    ["-n", "id=1,cpus=0"],
    4,
    "bhyve: NUMA domain 0 is missing: expected consecutive ids from 0",
  ],
  [
    ["-k", "none"],
    4,
    "bhyve: Failed to open configuration file none: No such file or directory",
  ],
  [["-k", "bad"], 4, "bhyve: bad line 2: invalid config option 'nonsense'"],
  [
    ["-o", "memory=1"],
    4,
    "bhyve: Cannot set memory=1: it is a configuration node",
  ],
  [
    ["-o", "config.dump=maybe"],
    4,
    "bhyve: Invalid value maybe for boolean variable config.dump",
  ],
  [["-c", "x=1"], 64, "bhyve: invalid cpu topology 'x=1'"],
  [["-c", "0"], 4, "bhyve: Invalid value for cpus: '0'"],
  [["-c", "cores=65536"], 4, "bhyve: Invalid value for cores: '65536'"],
  [["-c", "threads=2x"], 4, "bhyve: Invalid value for threads: '2x'"],
  [
    ["-c", "sockets=256,cores=256"],
    4,
    "bhyve: Computed number of vCPUs too high: 65536",
  ],
  [
    ["-c", "4,cores=3"],
    4,
    "bhyve: Topology (1 sockets, 3 cores, 1 threads) does not match 4 vCPUs",
  ],
  [["-s", "3"], 4, 'Invalid PCI slot info field "3"'],
  [["-s", "32,lpc"], 4, 'Invalid PCI slot info field "32,lpc"'],
  [["-s", "0:8,lpc"], 4, 'Invalid PCI slot info field "0:8,lpc"'],
  [["-s", "256:0:0,lpc"], 4, 'Invalid PCI slot info field "256:0:0,lpc"'],
  [["-s", "x,lpc"], 4, 'Invalid PCI slot info field "x,lpc"'],
  [["-s", "3,none"], 4, 'pci slot 0:3:0: unknown device "none"'],
  [["-s", "3,lpc", "-s", "0:3:0,hda"], 4, "pci slot 0:3:0 already occupied!"],
  [["-l", "x"], 64, "bhyve: invalid lpc device configuration 'x'"],
  [
    ["-l", "com5,stdio"],
    64,
    "bhyve: invalid lpc device configuration 'com5,stdio'",
  ],
  [["-l", "com1"], 64, "bhyve: invalid lpc device configuration 'com1'"],
  [["-l", "bootrom"], 4, "bhyve: invalid bootrom option ''"],
  [["-l", "bootrom,,v"], 4, "bhyve: invalid bootrom option ',v'"],
  [["-l", "tpm,x,y"], 4, "bhyve: invalid tpm type 'x'"],
  [["-l", "tpm,swtpm"], 4, "bhyve: invalid tpm path ''"],
];

Deno.test("Bad values are refused with bhyve's texts and exit statuses", () => {
  for (const [args, status, ...err] of REFUSED) {
    const command = exits(...args, "vm");
    assertEquals([command.status, ...command.err], [status, ...err]);
    assertEquals(command.out, []);
  }
});

Deno.test("-c reads a topology", () => {
  const rows: [string, number[]][] = [
    ["4", [4, 4, 1, 1]],
    ["cpus=4", [4, 4, 1, 1]],
    ["", [1, 1, 1, 1]],
    ["sockets=2,cores=3,threads=4", [24, 2, 3, 4]],
    ["threads=2", [2, 1, 1, 2]],
    ["8,threads=2,cores=2,sockets=2", [8, 2, 2, 2]],
    ["2,cpus=3", [3, 3, 1, 1]],
    ["0x10", [16, 16, 1, 1]],
    ["65535", [65535, 65535, 1, 1]],
  ];
  for (const [text, expected] of rows) {
    const { cpus, sockets, cores, threads } = run("-c", text, "vm").topology;
    assertEquals([cpus, sockets, cores, threads], expected, text);
  }
});

Deno.test("-n makes domains and their sum is the memory", () => {
  const both = run(
    ...["-n", "id=1,size=1G,cpus=1", "-n", "id=0,size=2G,cpus=0"],
    "vm",
  );
  assertEquals(both.domains, [
    { size: 2 ** 31, cpus: "0" },
    { size: 2 ** 30, cpus: "1" },
  ]);
  assertEquals(both.memory, 3 * 2 ** 30);
  const even = run("-m", "1G", "-n", "id=0,cpus=0", "-n", "id=1,cpus=1", "vm");
  assertEquals(even.domains.map(({ size }) => size), [2 ** 29, 2 ** 29]);
  assertEquals(even.warnings.length, 2);
  const nine = Array.from({ length: 9 }, (_, n) => ["-n", `id=${n},cpus=${n}`]);
  assertEquals(exits(...nine.flat(), "vm").status, 4);
});

Deno.test("-f collects items", () => {
  const { fwcfg } = run("-f", "a/b,string=x,y", "-f", "name=c,file=/p", "vm");
  assertEquals(fwcfg, [
    { name: "a/b", source: "string", value: "x,y" },
    { name: "c", source: "file", value: "/p" },
  ]);
  assertEquals(run("-f", `${"x".repeat(55)},string=y`, "vm").fwcfg.length, 1);
  assertEquals(exits("-f", `${"x".repeat(56)},string=y`, "vm").status, 64);
});

Deno.test("Lists of devices go to standard output", () => {
  for (const text of ["help", "h", "hel"]) {
    const lpc = exits("-l", text);
    assertEquals([lpc.status, lpc.err], [0, []]);
    assertEquals(
      lpc.out,
      ["bootrom", "com1", "com2", "com3", "com4", "tpm", "pc-testdev"],
    );
    const pci = exits("-s", text);
    assertEquals([pci.status, pci.out.length, pci.out[0]], [
      0,
      20,
      "hostbridge",
    ]);
  }
});

Deno.test("The usage goes to standard error", () => {
  assertEquals(exits("-h").status, 0);
  assertEquals(exits("-h").err, usage());
  assertEquals(usage()[0], "Usage: bhyve [options] <vmname>");
  for (const args of [[], ["a", "b"], ["vm", "-A"]]) {
    const command = exits(...args);
    assertEquals([command.status, command.err], [1, usage()]);
  }
  for (const letter of "bgz") {
    const { status, err } = exits(`-${letter}`, "vm");
    assertEquals([status, err[0]], [1, `bhyve: illegal option -- ${letter}`]);
  }
  assertEquals(exits("-m").err[0], "bhyve: option requires an argument -- m");
});

Deno.test("The name may come from the configuration or a snapshot", () => {
  assertEquals(run("-o", "name=x").name, "x");
  assertEquals(run("-k", "good").name, "filed");
  assertEquals(run("-o", "name=x", "y").name, "y");
  const restored = run("-r", "snapshot");
  assertEquals([restored.name, restored.restore], [undefined, "snapshot"]);
});

Deno.test("Later options win", () => {
  const { config } = run("-x", "-a", "-m", "1G", "-k", "good", "vm");
  assertEquals(config.get("x86.x2apic"), "false");
  assertEquals(config.get("memory.size"), "1G");
  assertEquals(run("-k", "good", "-m", "3G", "vm").memory, 3 * 2 ** 30);
});

Deno.test("config.dump prints the tree and exits 1", () => {
  const { status, out } = exits("-o", "config.dump=1", "-s", "3,lpc", "vm");
  assertEquals(status, 1);
  assert(out.includes("pci.0.3.0.device=lpc"));
  assert(out.includes("name=vm"));
});

Deno.test("Old keys of the boot ROM are renamed with a warning", () => {
  const { config, warnings } = run("-o", "lpc.bootrom=r", "vm");
  assertEquals(config.get("bootrom"), "r");
  assertEquals(warnings, ["lpc.bootrom is deprecated: use bootrom"]);
});
