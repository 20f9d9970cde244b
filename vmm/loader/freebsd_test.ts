// FreeBSD: a made-up system's kernel, module and settings in memory, the records
// about them, and the state that bhyveload leaves.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { REGISTER } from "../cpu/registers.ts";
import { LoaderError } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";
import { type FreeBsdBoot, loadFreeBsd } from "./freebsd.ts";
import { damaged, lookUp, makeElf, TestMemory } from "./_testing.ts";

const MIB = 2 ** 20;
const KERNBASE = 0xffff_ffff_8000_0000n;
const NAMES = new TextEncoder().encode("\0btext\0");
const SYMBOLS = new Uint8Array(24).fill(1);

const KERNEL = makeElf({
  entry: KERNBASE + 0x20_0010n,
  segments: [{
    paddr: 0x20_0000n,
    vaddr: KERNBASE + 0x20_0000n,
    bytes: new Uint8Array(100).fill(0xcc),
    memorySize: 0x1001,
  }, {
    type: 2,
    paddr: 0n,
    vaddr: KERNBASE + 0x20_0040n,
    bytes: new Uint8Array(0),
  }],
  sections: [
    { type: 0 },
    { type: 2, bytes: SYMBOLS, link: 2 },
    { type: 3, bytes: NAMES },
  ],
});

const MODULE = makeElf({
  type: 1,
  nameSection: 4,
  sections: [
    { type: 0 },
    { type: 1, flags: 2, bytes: Uint8Array.of(1, 2, 3), alignment: 16 },
    { type: 8, flags: 3, size: 100, alignment: 64 },
    { type: 2, bytes: SYMBOLS, link: 4, alignment: 8 },
    { type: 3, bytes: NAMES },
    { type: 4, bytes: new Uint8Array(24).fill(5), info: 1, alignment: 8 },
    { type: 1, bytes: Uint8Array.of(9) },
  ],
});

type Files = Readonly<Record<string, string | Uint8Array>>;

function system(files: Files): LoaderFileSystem {
  const all = new Map(Object.entries(files));
  return {
    read(path) {
      const found = all.get(path);
      return typeof found === "string"
        ? new TextEncoder().encode(found)
        : found;
    },
    list: (path) =>
      [...all.keys()].filter((name) => name.startsWith(`${path}/`))
        .map((name) => name.slice(path.length + 1)),
  };
}

const FILES: Files = {
  "/boot/kernel/kernel": KERNEL,
  "/boot/kernel/mod.ko": MODULE,
  "/boot/image": "ram disk",
  "/boot/defaults/loader.conf": 'kernel="kernel"\nautoboot_delay=10\n',
  "/boot/loader.conf": [
    'mod_load="YES"',
    'mod_flags="some flags"',
    'disk_load="YES"',
    'disk_name="/boot/image"',
    'disk_type="md_image"',
    'other_load="NO"',
    'boot_verbose="YES"',
    'kernel_options="-s"',
  ].join("\n"),
  "/etc/fstab": "# device\n/dev/vtbd0p2 / ufs rw,noatime 1 1\n",
};

interface Row {
  readonly type: number;
  readonly at: number;
  readonly size: number;
}

function boot(files: Files, environment: string[] = [], mib = 16) {
  const memory = new TestMemory(mib * MIB);
  const request: FreeBsdBoot = { fs: system(files), environment };
  const state = lookUp(loadFreeBsd(memory, request));
  const modulep = memory.u32(0x1004);
  const records: Row[] = [];
  for (let at = modulep;;) {
    const [type, size] = [memory.u32(at), memory.u32(at + 4)];
    records.push({ type, at: at + 8, size });
    if (type === 0) break;
    at += Math.ceil((8 + size) / 8) * 8;
  }
  const find = (type: number, after = 0) =>
    records.slice(after).find((r) => r.type === type)!;
  const env = new Map<string, string>();
  for (let at = memory.u64(find(0x8006).at); memory.bytes[at] !== 0;) {
    const text = memory.text(at);
    const [name, ...value] = text.split("=");
    env.set(name!, value.join("="));
    at += text.length + 1;
  }
  return { memory, records, find, env, modulep, ...state };
}

Deno.test("The start state is bhyveload's", () => {
  const { memory, register, descriptor } = boot(FILES);
  assertEquals(register(REGISTER.RIP), KERNBASE + 0x20_0010n);
  assertEquals(register(REGISTER.RSP), 0x1000n);
  assertEquals(register(REGISTER.CR0), 0x8000_0021n);
  assertEquals(register(REGISTER.CR3), 0x2000n);
  assertEquals(register(REGISTER.CR4), 0x20n);
  assertEquals(register(REGISTER.EFER), 0x500n);
  const code = { base: 0n, limit: 0, access: 0x209b };
  assertEquals(descriptor(REGISTER.CS), code);
  assertEquals(descriptor(REGISTER.LDTR)!.access, 0x1_0000);
  const table = { base: 0x5000n, limit: 23, access: 0 };
  assertEquals(descriptor(REGISTER.GDTR), table);
  assertEquals([memory.u64(0x2ff8), memory.u64(0x3000)], [0x3003, 0x4003]);
  assertEquals(memory.u64(0x4ff8), 511 * 2 ** 21 + 0x83);
  assertEquals(memory.u64(0x5008), 0x0020_9800_0000_0000);
  assertEquals(memory.u32(0x1000), 0);
});

Deno.test("Records name every file in order", () => {
  const { memory, records, modulep } = boot(FILES);
  const texts = (type: number) =>
    records.filter((r) => r.type === type).map(({ at }) => memory.text(at));
  assertEquals(texts(1), [
    "/boot/kernel/kernel",
    "/boot/kernel/mod.ko",
    "/boot/image",
  ]);
  assertEquals(texts(2), ["elf kernel", "elf obj module", "md_image"]);
  assertEquals(texts(6), ["some flags"]);
  assertEquals(modulep % 4096, 0);
  assertEquals(records.at(-1), { type: 0, at: records.at(-1)!.at, size: 0 });
});

Deno.test("The kernel's records tell where everything is", () => {
  const { memory, find, modulep } = boot(FILES);
  assertEquals(memory.u64(find(3).at), 0x20_0000);
  const symbols = memory.u64(find(0x8003).at);
  assertEquals(symbols, 0x20_1008);
  assertEquals(memory.u64(symbols), SYMBOLS.length);
  assertEquals(memory.bytes[symbols + 8], 1);
  const end = memory.u64(find(0x8004).at);
  assertEquals(end, symbols + 8 + 24 + 8 + 8);
  assertEquals(memory.u64(find(4).at), end - 0x20_0000);
  assertEquals(memory.u64(find(0x8005).at), 0x20_0040);
  assertEquals(find(0x8002).size, 64);
  // single user and verbose
  assertEquals(memory.u32(find(0x8007).at), 0x802);
  const kernend = memory.u64(find(0x8008).at);
  assertEquals([kernend % 4096, kernend], [0, memory.u32(0x1008)]);
  assertEquals(memory.u64(find(0x9006).at), modulep);
  const map = find(0x9001);
  assertEquals(map.size, 40);
  assertEquals(memory.u64(map.at + 28), 15 * MIB);
  assertEquals(memory.bytes[0x20_0000], 0xcc);
  assertEquals(memory.bytes[0x20_0064], 0);
});

Deno.test("A module's sections lie behind the kernel, addresses in its headers", () => {
  const { memory, records, find } = boot(FILES);
  const second = records.findIndex((r, n) => n > 0 && r.type === 1);
  const start = memory.u64(find(3, second).at);
  assertEquals(start, 0x20_2000);
  const headers = find(0x8009, second).at;
  const address = (n: number) => memory.u64(headers + 64 * n + 16);
  assertEquals([0, 1, 2, 3, 4, 5, 6].map(address), [
    ...[0, start, start + 64, start + 168, start + 192, start + 200, 0],
  ]);
  assertEquals([...memory.bytes.slice(start, start + 4)], [1, 2, 3, 0]);
  assertEquals(memory.bytes[start + 168], 1);
  assertEquals(memory.bytes[start + 200], 5);
  assertEquals(memory.u64(find(4, second).at), 224);
  const third = records.findLastIndex((r) => r.type === 1);
  assertEquals(memory.text(memory.u64(find(3, third).at)), "ram disk");
});

Deno.test("The environment has settings, what bhyveload adds and the root", () => {
  const { env } = boot(FILES, ["boot_serial=1", "autoboot_delay=3", "x=y=z"]);
  const expected = {
    autoboot_delay: "3",
    boot_serial: "1",
    boot_verbose: "YES",
    kernelname: "/boot/kernel/kernel",
    module_path: "/boot/kernel;/boot/modules",
    x: "y=z",
    "vfs.root.mountfrom": "ufs:/dev/vtbd0p2",
    "vfs.root.mountfrom.options": "rw,noatime",
  };
  for (const [name, value] of Object.entries(expected)) {
    assertEquals(env.get(name), value, name);
  }
  const { memory, find } = boot(FILES, ["boot_serial=1", "boot_verbose=no"]);
  assertEquals(memory.u32(find(0x8007).at), 0x1002);
});

Deno.test("Other kernels are found by name and path", () => {
  const files = { ...FILES, "/boot/k2/kernel": KERNEL, "/vmunix": KERNEL };
  const loaded = (kernel: string) => {
    const { memory, find } = boot(
      { ...files, "/boot/loader.conf": "" },
      [`kernel=${kernel}`],
    );
    return memory.text(find(1).at);
  };
  assertEquals(loaded("k2"), "/boot/k2/kernel");
  assertEquals(loaded("/vmunix"), "/vmunix");
});

Deno.test("What is missing or wrong is refused by name", () => {
  const kernel = (bytes: Uint8Array) => ({
    ...FILES,
    "/boot/kernel/kernel": bytes,
  });
  const module = (bytes: Uint8Array) => ({
    ...FILES,
    "/boot/kernel/mod.ko": bytes,
  });
  const { "/boot/kernel/mod.ko": _, ...missing } = FILES;
  const rows: [Files, string][] = [
    [{}, "Cannot find the kernel: looked for /boot/kernel/kernel"],
    [missing, "Cannot find mod, which loader.conf loads"],
    [kernel(makeElf({ bits: 32 })), "expected an executable for x86-64"],
    [kernel(MODULE), "expected an executable"],
    [module(KERNEL), "expected a relocatable object"],
    [module(makeElf({ type: 1 })), "0 symbol tables, expected one"],
    [
      module(makeElf({
        type: 1,
        nameSection: 2,
        sections: [
          { type: 1, flags: 2, bytes: NAMES, alignment: 3 },
          { type: 2, bytes: SYMBOLS, link: 2 },
          { type: 3, bytes: NAMES },
        ],
      })),
      "section 0 is aligned to 3",
    ],
    [{ ...FILES, "/boot/loader.conf": "nonsense" }, "line 1"],
  ];
  for (const [files, message] of rows) {
    assertThrows(() => boot(files), LoaderError, message);
  }
  assertThrows(() => boot(FILES, [], 2), LoaderError, "low memory ends");
});

Deno.test("Damaged kernels and modules are refused or loaded, nothing else", () => {
  const memory = new TestMemory(4 * MIB);
  let refused = 0;
  for (const path of ["/boot/kernel/kernel", "/boot/kernel/mod.ko"]) {
    for (const bytes of damaged(path.endsWith("ko") ? MODULE : KERNEL)) {
      try {
        loadFreeBsd(memory, { fs: system({ ...FILES, [path]: bytes }) });
      } catch (error) {
        if (!(error instanceof LoaderError)) throw error;
        refused++;
      }
    }
  }
  assert(refused > 500);
});
