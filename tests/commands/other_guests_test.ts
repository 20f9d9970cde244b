// Guests other than 64-bit Linux: Debian's i386 kernel, and kernels of our own that tell
// what the loader handed over, record by record.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { makeIso, makeUfs } from "../../vmm/loader/_disk_images.ts";
import { bareKernel } from "../guests/bare.ts";
import { BARE_ARGUMENTS, BARE_END } from "./harness/bare_machine.ts";
import { bootLinux } from "./harness/linux_machine.ts";
import { checksum, type Told, toldBy } from "./harness/told.ts";
import { TestHost } from "./harness/test_host.ts";
import { linuxGuest } from "../guests/linux.ts";

const MIB = 2 ** 20;
const KERNEL_START = 0x20_0000;
const PAGE = 4096;
/** Feature bit 32: a driver that knows virtio 1. */
const VERSION_1 = 32;
const MODULE_CONTENT = new TextEncoder().encode("what a module contains\n");
const BLOB_CONTENT = new TextEncoder().encode("a preloaded image");

/** Runs a loaded machine to its end; answers what its kernel told. */
async function run(
  host: TestHost,
  name: string,
  status: number,
): Promise<Told> {
  await using session = host.start("bhyve", [...BARE_ARGUMENTS, name]);
  const text = await session.expect(BARE_END);
  await session.endsWith(status);
  return toldBy(text);
}

async function loadMultiboot(
  host: TestHost,
  kernel: "multiboot" | "multiboot2",
  line: string,
): Promise<void> {
  await Deno.writeFile(host.path("module"), MODULE_CONTENT);
  await host.ok("bhyveload", [
    ...["-m", "32M", "--kernel", await bareKernel(kernel)],
    ...["--initrd", host.path("module"), "--append", line, "multi"],
  ]);
}

// What both versions of Multiboot tell.
function assertHandOff(told: Told, line: string): void {
  assertEquals(told.texts("line"), [line]);
  assertEquals(told.texts("loader"), ["bhyve"]);
  assertEquals(told.number("lower"), 640);
  assertEquals(told.number("upper"), 31 * 1024);
  assertEquals(told.numbers("module.size"), [MODULE_CONTENT.length]);
  assertEquals(told.numbers("module.sum"), [checksum(MODULE_CONTENT)]);
  assertEquals(told.number("module.start") % PAGE, 0);
  assertEquals(told.numbers("range.base"), [0, MIB]);
  assertEquals(told.numbers("range.length"), [640 * 1024, 31 * MIB]);
  assertEquals(told.numbers("range.type"), [1, 1]);
}

Deno.test("A Multiboot kernel finds what its specification promises", async () => {
  await using host = await TestHost.create();
  const line = "first second=2 end=reset";
  await loadMultiboot(host, "multiboot", line);
  const told = await run(host, "multi", 0);
  assertEquals(told.number("magic"), 0x2bad_b002);
  assertEquals(told.number("cr0") & 0x8000_0001, 1, "protected, not paged");
  assertEquals(told.number("eflags") & 0x2_0200, 0, "no interrupts, no VM86");
  assertHandOff(told, line);
});

Deno.test("A Multiboot2 kernel finds what its specification promises", async () => {
  await using host = await TestHost.create();
  const line = "end=poweroff last";
  await loadMultiboot(host, "multiboot2", line);
  const told = await run(host, "multi", 1);
  assertEquals(told.number("magic"), 0x36d7_6289);
  assertEquals(told.number("aligned"), 1);
  assertHandOff(told, line);
  assertEquals(told.number("rest"), 8, "the end tag is the last");
});

const LOADER_CONF = `# a comment
hello_load="YES"
hello_flags="-v one"
blob_load="YES"
blob_name="/boot/blob"
blob_type="md_image"
kern.test="some value"
boot_verbose="YES"
`;

async function makeFreeBsdTree(root: string): Promise<void> {
  await Deno.mkdir(`${root}/boot/kernel`, { recursive: true });
  const copy = (from: string, to: string) => Deno.copyFile(from, root + to);
  await copy(await bareKernel("freebsd"), "/boot/kernel/kernel");
  await copy(await bareKernel("module"), "/boot/kernel/hello.ko");
  await Deno.writeFile(`${root}/boot/blob`, BLOB_CONTENT);
  await Deno.writeTextFile(`${root}/boot/loader.conf`, LOADER_CONF);
}

const HOWTO = { VERBOSE: 0x800, SERIAL: 0x1000 };

function assertStart(told: Told): void {
  assertEquals(told.number("rsp"), 0x1000);
  assertEquals(told.number("cr0"), 0x8000_0021);
  assertEquals(told.number("cr3"), 0x2000);
  assertEquals(told.number("cr4"), 0x20);
  assertEquals(told.number("efer"), 0x500);
  assertEquals(told.number("rflags.if"), 0);
  assertEquals([told.number("cs"), told.number("ss")], [0x08, 0x10]);
  assertEquals(told.number("gdt.base"), 0x5000);
  assertEquals(told.number("gdt.limit"), 23);
  for (const alias of ["identity", "third", "high"]) {
    assertEquals(told.number(`alias.${alias}`), 1, alias);
  }
  for (const table of ["rsdp", "mptable", "smbios"]) {
    assertEquals(told.number(table), 1, table);
  }
}

async function assertFiles(told: Told): Promise<void> {
  assertEquals(told.texts("name"), [
    ...["/boot/kernel/kernel", "/boot/kernel/hello.ko", "/boot/blob"],
  ]);
  assertEquals(told.texts("type"), [
    ...["elf kernel", "elf obj module", "md_image"],
  ]);
  assertEquals(told.texts("args"), ["-v one"]);
  const [kernel, module, blob] = told.numbers("addr") as [
    number,
    number,
    number,
  ];
  const sizes = told.numbers("size") as [number, number, number];
  assertEquals(kernel, KERNEL_START);
  assertEquals(told.number("own.start"), kernel);
  assert(told.number("own.end") <= kernel + sizes[0]);
  assertEquals(module, Math.ceil((kernel + sizes[0]) / PAGE) * PAGE);
  assertEquals(blob, Math.ceil((module + sizes[1]) / PAGE) * PAGE);
  assertEquals(sizes[2], BLOB_CONTENT.length);
  assertEquals(told.numbers("sum")[2], checksum(BLOB_CONTENT));
  const headers = [await bareKernel("freebsd"), await bareKernel("module")]
    .map((path) => checksum(Deno.readFileSync(path).subarray(0, 64)));
  assertEquals(told.numbers("elfhdr.sum"), headers);
  assertEquals(told.numbers("elfhdr.own"), [1, 0]);
}

// Every section that a module has in memory is as in its file.
async function assertSections(told: Told): Promise<void> {
  const file = await Deno.readFile(await bareKernel("module"));
  const view = new DataView(file.buffer);
  const headers = Number(view.getBigUint64(0x28, true));
  assertEquals(told.number("shdr.count"), view.getUint16(0x3c, true));
  const indices = told.numbers("shdr.index");
  assert(indices.length >= 5, `${indices.length} sections`);
  const sums = indices.map((index) => {
    const at = headers + index * 64;
    const offset = Number(view.getBigUint64(at + 0x18, true));
    const size = Number(view.getBigUint64(at + 0x20, true));
    const isZero = view.getUint32(at + 4, true) === 8;
    return checksum(
      isZero ? new Uint8Array(size) : file.subarray(offset, offset + size),
    );
  });
  assertEquals(told.numbers("shdr.sum"), sums);
}

function assertMetadata(told: Told, memory: number): void {
  const modulep = told.number("modulep");
  const kernend = told.number("kernend");
  assertEquals(told.number("stack.modulep"), modulep);
  assertEquals(told.number("stack.kernend"), kernend);
  assertEquals([modulep % PAGE, kernend % PAGE], [0, 0]);
  assertEquals(told.number("envp") % PAGE, 0);
  assert(told.number("end") <= kernend);
  assert(kernend - told.number("end") < PAGE);
  assert(told.number("envp") < modulep && modulep < kernend);
  assertEquals(told.number("howto.size"), 4);
  assertEquals(told.number("howto"), HOWTO.VERBOSE | HOWTO.SERIAL);
  const [start, end] = [told.number("ssym"), told.number("esym")];
  assert(start >= told.number("own.end") && end > start);
  assertEquals(told.number("symbol.btext"), 1);
  assertEquals(told.number("symbol.none"), 0);
  assertEquals(told.numbers("unknown"), []);
  assertEquals(told.numbers("smap.base"), [0, MIB]);
  assertEquals(told.numbers("smap.length"), [640 * 1024, memory - MIB]);
  assertEquals(told.numbers("smap.type"), [1, 1]);
}

const VARIABLES = [
  ...["kern.test=some value", "boot_verbose=YES", "test.end=keyboard"],
  ...["smbios.bios.vendor=BHYVE", "boot_serial=1", "hello_load=YES"],
  "kernelname=/boot/kernel/kernel",
];

/** Where the system is: bhyveload's arguments for it. */
const SYSTEMS: Readonly<
  Record<string, (tree: string) => Promise<readonly string[]>>
> = {
  "a directory": (tree) => Promise.resolve(["-h", tree]),
  "a UFS": async (tree) => {
    const options = "-s 4m -o version=2";
    return ["-d", await image(tree, await makeUfs(tree, options))];
  },
  "an ISO 9660": async (tree) => [
    "-d",
    await image(tree, await makeIso(tree, ["-R"])),
  ],
};

async function image(tree: string, bytes: Uint8Array): Promise<string> {
  const path = `${tree}.img`;
  await Deno.writeFile(path, bytes);
  return path;
}

for (const [where, argumentsFor] of Object.entries(SYSTEMS)) {
  Deno.test(`A FreeBSD kernel from ${where} finds every record`, async () => {
    await using host = await TestHost.create();
    const tree = host.path("tree");
    await makeFreeBsdTree(tree);
    await host.ok("bhyveload", [
      ...["-m", "32M", "-e", "test.end=keyboard"],
      ...[...await argumentsFor(tree), "free"],
    ]);
    const told = await run(host, "free", 0);
    assertStart(told);
    await assertFiles(told);
    await assertSections(told);
    assertMetadata(told, 32 * MIB);
    const environment = told.texts("env");
    for (const text of VARIABLES) assert(environment.includes(text), text);
  });
}

Deno.test("Debian's i386 kernel boots, reads a disk, and powers off", async () => {
  const kernel = "linux-image-686:i386";
  await linuxGuest(kernel);
  await using host = await TestHost.create();
  const disk = host.path("disk");
  await Deno.writeFile(disk, new Uint8Array(MIB).fill(0x61));
  const guest = await bootLinux(host, {
    name: "i386",
    memory: "512M",
    kernel,
    // Its self-tests of cryptography take minutes of a software processor.
    append: "cryptomgr.notests",
    devices: ["-s", `3,virtio-blk,${disk}`],
  });
  assertStringIncludes(await guest.command("uname -sm"), "Linux i686");
  await guest.command(
    "modprobe virtio_pci force_legacy=1; modprobe virtio_blk",
  );
  const features = await guest.command("cat /sys/block/vda/device/features");
  assertEquals(features[VERSION_1], "0", "the driver is a legacy one");
  assertStringIncludes(
    await guest.command("md5sum </dev/vda"),
    "7202826a7791073fe2787f0c94603278",
  );
  await guest.type("poweroff -f");
  await guest.endsWith(1);
});
