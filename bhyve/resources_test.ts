// What a command line names of the host, what it is refused for, which permissions it
// needs, and the plan that comes of it.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { EMULATIONS } from "../devices/registry.ts";
import { emptyState } from "../vmm/root/node.ts";
import { loaderFiles, loaderKeys } from "./loader_keys.ts";
import { makePlan } from "./make_plan.ts";
import { OptionError } from "./option_error.ts";
import { parseOptions, type RunCommand } from "./options.ts";
import { pciFunctions } from "./pci_functions.ts";
import { needsOf, requireNeeds } from "./permissions.ts";
import { pinnings } from "./pinning.ts";
import { refuseUnbuilt } from "./refusals.ts";
import { resourcesOf } from "./resources.ts";
import { machineUuid } from "./uuid.ts";

const GIB = 2 ** 30;

function parse(...args: string[]): RunCommand {
  const command = parseOptions([...args, "vm"], { readFile: () => "" });
  if (command.kind !== "run") throw new Error(command.err.join("\n"));
  return command;
}

function refused(run: () => unknown, message: string): void {
  const error = assertThrows(run, OptionError);
  assertEquals([error.status, error.message], [4, `bhyve: ${message}`]);
}

const resources = (...args: string[]) =>
  resourcesOf(parse(...args).config, (message) => {
    throw new Error(message);
  });

// --- Resources ---------------------------------------------------------------

const MACHINE = [
  ...["-s", "0,hostbridge", "-s", "3,virtio-blk,/disk.img"],
  ...["-s", "4,virtio-blk,/iso,ro", "-s", "5,uart,tcp=[::1]:99"],
  ...["-s", "31,lpc", "-l", "com1,stdio", "-l", "com2,/dev/pts/7"],
];

Deno.test("resourcesOf() finds disks and serial lines", () => {
  const { ttys, disks } = resources(...MACHINE);
  assertEquals(ttys.map(({ key, text }) => [key, text]), [
    ["lpc.com1.path", "stdio"],
    ["lpc.com2.path", "/dev/pts/7"],
    ["pci.0.5.0.path", "tcp=[::1]:99"],
  ]);
  assertEquals(disks.map(({ path, readOnly }) => [path, readOnly]), [
    ["/disk.img", false],
    ["/iso", true],
  ]);
});

Deno.test("resourcesOf() warns of serial ports without an LPC bridge", () => {
  const warnings: string[] = [];
  const { config } = parse("-l", "com1,stdio");
  const { ttys } = resourcesOf(config, (message) => warnings.push(message));
  assertEquals([ttys.length, warnings], [0, [
    "lpc.com1.path has no effect without an LPC bridge (-s 31,lpc)",
  ]]);
});

Deno.test("resourcesOf() refuses what cannot be used as it is named", () => {
  const cases: Record<string, string[]> = {
    "Cannot open pci.0.5.0.path=stdio: lpc.com1.path has it already": [
      ...["-s", "31,lpc", "-l", "com1,stdio", "-s", "5,uart,stdio"],
    ],
    "Cannot open lpc.com1.path=tcp=x: expected tcp=host:port or tcp=[v6]:port":
      ["-s", "31,lpc", "-l", "com1,tcp=x"],
    'pci slot 0:3:0: Missing "path" for block device.': ["-s", "3,virtio-blk"],
    'pci slot 0:3:0: Invalid sector size "3"': [
      ...["-s", "3,virtio-blk,/a,sectorsize=3"],
    ],
    "Only one LPC bridge is allowed.": ["-s", "1,lpc", "-s", "2,lpc"],
    "LPC bridge can be present only on bus 0.": ["-s", "1:0:0,lpc"],
    'pci slot 0:3:0: missing "device" value': ["-o", "pci.0.3.0.path=/x"],
    "Invalid PCI slot pci.0.32.0: expected pci.BUS.SLOT.FUNC": [
      ...["-o", "pci.0.32.0.device=uart"],
    ],
  };
  for (const [message, args] of Object.entries(cases)) {
    refused(() => resources(...args), message);
  }
});

Deno.test("pciFunctions() are in the order of their places", () => {
  const { config } = parse(
    "-s",
    "9,uart",
    "-s",
    "1:0:0,uart",
    "-s",
    "2:1,uart",
  );
  const places = pciFunctions(config).map(({ location: { bus, slot, func } }) =>
    `${bus}:${slot}:${func}`
  );
  assertEquals(places, ["0:2:1", "0:9:0", "1:0:0"]);
});

// --- Refusals ----------------------------------------------------------------

Deno.test("refuseUnbuilt() takes a machine of what is built", () => {
  refuseUnbuilt(parse(...MACHINE, "-aACDeHIMPSuwWxY", "-c", "2", "-U", "x"));
});

Deno.test("refuseUnbuilt() names what is not built", () => {
  const cases: Record<string, string[]> = {
    'lpc device "bootrom" (bootrom=/rom)': ["-l", "bootrom,/rom"],
    "a boot ROM's variable store (bootvars=/v)": ["-o", "bootvars=/v"],
    'lpc device "tpm"': ["-l", "tpm,swtpm,/s"],
    'lpc device "pc-testdev" (lpc.pc-testdev=true)': ["-l", "pc-testdev"],
    "a fwcfg device (lpc.fwcfg=qemu)": ["-o", "lpc.fwcfg=qemu"],
    'fwcfg item "a" (-f)': ["-f", "a,string=b"],
    "the debug server (-G, gdb.port=1234)": ["-G", "1234"],
    "restoring a snapshot (-r /s)": ["-r", "/s"],
    "a keyboard layout (keyboard.layout=de)": ["-K", "de"],
    "a NUMA domain (-n)": ["-n", "id=0,size=1G,cpus=0"],
    "ACPI tables in fwcfg only (acpi_tables_in_memory=false)": [
      ...["-o", "acpi_tables_in_memory=no"],
    ],
  };
  for (const [what, args] of Object.entries(cases)) {
    refused(
      () => refuseUnbuilt(parse(...args)),
      `${what} is not supported yet`,
    );
  }
});

Deno.test("refuseUnbuilt() names every emulation without a model", () => {
  const confs: Record<string, string> = {
    "passthru": ",1/2/3",
    "virtio-9p": ",a=/b",
    "virtio-console": ",a=/b",
  };
  const unbuilt = [...EMULATIONS].filter(([, { create }]) => !create)
    .map(([name]) => name);
  assert(unbuilt.length > 0);
  for (const name of unbuilt) {
    // the disk emulations are other names of ahci
    const device = name.replace(/^ahci-.*/, "ahci");
    refused(
      () => refuseUnbuilt(parse("-s", `3,${name}${confs[name] ?? ""}`)),
      `pci slot 0:3:0: device "${device}" is not supported yet`,
    );
  }
  refused(
    () => refuseUnbuilt(parse("-o", "pci.0.3.0.device=toaster")),
    'pci slot 0:3:0: unknown device "toaster"',
  );
});

Deno.test("refuseUnbuilt() refuses values that are none", () => {
  refused(
    () => refuseUnbuilt(parse("-o", "lpc.fwcfg=x")),
    "Invalid value x for lpc.fwcfg: expected bhyve or qemu",
  );
  refused(
    () => refuseUnbuilt(parse("-o", "gdb.port=x")),
    "Invalid value x for gdb.port: expected 0 to 65535",
  );
});

// --- Permissions -------------------------------------------------------------

Deno.test("requireNeeds() names all that is missing, with its flags", () => {
  const needs = needsOf(resources(...MACHINE), {
    files: ["/kernel"],
    hostname: true,
  });
  assertEquals(needs.map(({ flag }) => flag), [
    "--allow-read=/kernel",
    "--allow-read=/disk.img",
    "--allow-write=/disk.img",
    "--allow-read=/iso",
    "--allow-all",
    "--allow-net=[::1]:99",
    "--allow-sys=hostname",
  ]);
  requireNeeds(needs, () => true);
  refused(
    () =>
      requireNeeds(needs, (one) => one.name !== "write" || !("path" in one)),
    "no permission to write /disk.img: run with --allow-write=/disk.img",
  );
  refused(
    () => requireNeeds(needs, ({ name }) => name !== "net" && name !== "sys"),
    "no permission to open /dev/pts/7, listen on [::1]:99, derive the machine's UUID from the host's name (none with -U): run with --allow-all",
  );
});

Deno.test({
  name: "requireNeeds() asks Deno",
  permissions: { read: ["/iso"] },
  fn() {
    const none = { files: [], hostname: false };
    requireNeeds(needsOf(resources("-s", "4,virtio-blk,/iso,ro"), none));
    refused(
      () => requireNeeds(needsOf(resources("-s", "4,virtio-blk,/iso"), none)),
      "no permission to write /iso: run with --allow-write=/iso",
    );
  },
});

// --- Kernels, pinnings, UUIDs, plans -----------------------------------------

Deno.test("loaderKeys() reads the kernel's keys", () => {
  const keys = (...args: string[]) => loaderKeys(parse(...args).config);
  assertEquals(keys(), undefined);
  const all = keys(
    ...["-o", "loader.kernel=/k", "-o", "loader.initrd=/i"],
    ...["-o", "loader.append=a=b c"],
  );
  assertEquals(all, { kernel: "/k", initrd: "/i", append: "a=b c" });
  assertEquals(loaderFiles(all), ["/k", "/i"]);
  refused(
    () => keys("-o", "loader.initrd=/i"),
    "loader.initrd is set without loader.kernel",
  );
});

Deno.test("pinnings() of a machine's vCPUs", () => {
  const { config } = parse("-p", "0:1", "-p", "0:3", "-p", "2:0");
  assertEquals(pinnings(config, 2), [{ vcpu: 0, cpus: "1,3" }]);
  refused(
    () => pinnings(parse("-o", "vcpu.1.cpuset=1-").config, 2),
    "Invalid value 1- for vcpu.1.cpuset: expected a list of CPUs such as 0,2-3",
  );
});

Deno.test("machineUuid() is what was given, or derived from two names", () => {
  const given = "01234567-89AB-cdef-0123-456789abcdef";
  const unused = () => {
    throw new Error("the host's name was asked for");
  };
  assertEquals(machineUuid(given, "vm", unused), given.toLowerCase());
  // the MD5 digest of "vmhost" with version and variant set
  assertEquals(
    machineUuid(undefined, "vm", () => "host"),
    machineUuid(undefined, "vmho", () => "st"),
  );
  assertEquals(
    machineUuid(undefined, "vm", () => "host").replace(/[^-]/g, "x"),
    "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
  );
  refused(
    () => machineUuid("x", "vm", unused),
    'Cannot use UUID "x": expected xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx',
  );
});

Deno.test("makePlan() has as many vCPUs as the topology, and the disks' paths", () => {
  const { config } = parse(...MACHINE, "-o", "uuid=old");
  const topology = { sockets: 1, cores: 2, threads: 2, maxcpus: 16 };
  const map = { segid: 0, prot: 7, flags: 0 };
  const mappings = [
    { ...map, gpa: 0n, segoff: 0, len: 3 * GIB },
    { ...map, gpa: 4n * BigInt(GIB), segoff: 3 * GIB, len: 2 * GIB },
  ];
  const plan = makePlan({
    name: "vm",
    config,
    uuid: "new",
    resources: resources(...MACHINE),
    chars: { stdio: new SharedArrayBuffer(1) },
    state: { ...emptyState(), topology, mappings },
  });
  assertEquals([plan.lowmem, plan.highmem], [3 * GIB, 2 * GIB]);
  assertEquals(plan.vcpus, [null, null, null, null]);
  assertEquals(plan.permissions, {
    read: ["/disk.img", "/iso"],
    write: ["/disk.img"],
  });
  const coms = plan.config.filter(([path]) => path.startsWith("lpc.com"));
  assertEquals(coms, [["lpc.com1.path", "stdio"]]);
  const uuids = plan.config.filter(([path]) => path === "uuid");
  assertEquals(uuids, [["uuid", "new"]]);
  assertEquals(structuredClone(plan), plan);
});
