// UFS1 and UFS2 as Debian's makefs makes them, whole and damaged.

import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { makeUfs, writeTree } from "./_disk_images.ts";
import { flips, inTemporary, random } from "./_testing_disks.ts";
import { LoaderError } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";
import { bytesAccess, DiskImage } from "./image.ts";
import { openUfs } from "./ufs.ts";

const LARGE = random(3_000_000);
const NAMES = Array.from({ length: 400 }, (_, n) => `a-file-of-many-${n}.conf`);
const TREE = {
  "boot/kernel/vmunix": LARGE,
  "boot/loader.conf": 'x="1"\n',
  "link": { link: "/boot/kernel/../loader.conf" },
  "boot/relative": { link: "kernel" },
  "loop": { link: "loop" },
  "long": { link: `${"boot/../".repeat(30)}boot/loader.conf` },
  "empty": "",
  ...Object.fromEntries(NAMES.map((name, n) => [`many/${name}`, `${n}`])),
};

const VARIANTS = [
  "-o version=1",
  "-o version=2",
  "-o version=1,bsize=4096,fsize=512",
  "-o version=2,bsize=4096,fsize=512",
  "-o version=2,bsize=32768,fsize=4096",
];

const IMAGES = new Map<string, Promise<Uint8Array>>();

function image(options: string): Promise<Uint8Array> {
  const made = IMAGES.get(options) ?? inTemporary((directory) => {
    writeTree(directory, TREE);
    return makeUfs(directory, options);
  });
  IMAGES.set(options, made);
  return made;
}

function open(bytes: Uint8Array, mostBytes = 2 ** 24): LoaderFileSystem {
  const disk = new DiskImage("disk0", bytesAccess(bytes));
  const fs = openUfs(disk, { mostBytes });
  if (fs === undefined) throw new Error("it is no UFS");
  return fs;
}

function text(fs: LoaderFileSystem, path: string): string {
  return new TextDecoder().decode(fs.read(path) ?? assertFound(path));
}

function assertFound(path: string): never {
  throw new Error(`${path} is missing`);
}

for (const options of VARIANTS) {
  Deno.test(`Files, directories and links of makefs ${options}`, async () => {
    const fs = open(await image(options));
    assertContent(fs, LARGE);
    assertEquals(fs.read("/boot/relative/vmunix")?.length, LARGE.length);
    for (const path of ["/link", "/long", "/boot//./../boot/loader.conf"]) {
      assertEquals(text(fs, path), 'x="1"\n', path);
    }
    assertEquals(text(fs, "/empty"), "");
    assertEquals(fs.list("/boot")?.toSorted(), [
      ...["kernel", "loader.conf", "relative"],
    ]);
    assertEquals(fs.list("/many")?.toSorted(), NAMES.toSorted());
    assertEquals(text(fs, `/many/${NAMES[399]}`), "399");
  });
}

Deno.test("What is not there is undefined", async () => {
  const fs = open(await image("-o version=2"));
  for (const path of ["/nothing", "/boot", "/boot/loader.conf/x", "/link/x"]) {
    assertEquals(fs.read(path), undefined, path);
  }
  assertEquals(fs.list("/boot/loader.conf"), undefined);
  assertEquals(fs.list("/nothing"), undefined);
  const none = new DiskImage("disk0", bytesAccess(new Uint8Array(2 ** 20)));
  assertEquals(openUfs(none, { mostBytes: 1 }), undefined);
});

Deno.test("Limits are errors that say them", async () => {
  const bytes = await image("-o version=2");
  const rows: [() => unknown, string][] = [
    [() => open(bytes).read("/loop"), "more than 32 links"],
    [() => open(bytes).read("/x/..".repeat(600)), ""],
    [() => open(bytes).read("/boot/..".repeat(600)), "too many parts"],
    [
      () => open(bytes, 999).read("/boot/kernel/vmunix"),
      "has 3000000 bytes, expected at most 999",
    ],
  ];
  for (const [act, message] of rows) {
    if (message === "") assertEquals(act(), undefined);
    else assertThrows(act, LoaderError, message);
  }
});

/** Where makefs puts the superblock of both versions. */
const SUPERBLOCK = 8192;

/** The offset of a file's inode, found by its name and the layout of version 2. */
function inodeOf(bytes: Uint8Array, name: string): number {
  const pattern = [name.length, ...new TextEncoder().encode(`${name}\0`)];
  const at = bytes.findIndex((_, n) =>
    pattern.every((byte, k) => bytes[n + k] === byte)
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const fragment = view.getUint32(SUPERBLOCK + 52, true);
  const first = view.getUint32(SUPERBLOCK + 16, true) * fragment;
  return first + view.getUint32(at - 7, true) * 256;
}

// Large arrays are not compared by assertEquals, which would print the difference.
function assertContent(fs: LoaderFileSystem, expected: Uint8Array): void {
  const content = fs.read("/boot/kernel/vmunix") ?? assertFound("the kernel");
  assertEquals(content.length, expected.length);
  assertEquals(content.findIndex((byte, n) => byte !== expected[n]), -1);
}

Deno.test("Holes are zeros, in the inode and under indirect blocks", async () => {
  const bytes = (await image("-o version=2,bsize=4096,fsize=512")).slice();
  const inode = inodeOf(bytes, "vmunix");
  const view = new DataView(bytes.buffer);
  const expected = LARGE.slice();
  view.setBigUint64(inode + 112 + 8, 0n, true);
  expected.fill(0, 4096, 2 * 4096);
  view.setBigUint64(inode + 208, 0n, true);
  expected.fill(0, 12 * 4096, (12 + 512) * 4096);
  assertContent(open(bytes), expected);
  view.setBigUint64(inode + 216, 0n, true);
  expected.fill(0, (12 + 512) * 4096);
  assertContent(open(bytes), expected);
});

Deno.test("Blocks and inodes outside the file system are refused", async () => {
  const bytes = (await image("-o version=2")).slice();
  const inode = inodeOf(bytes, "vmunix");
  const view = new DataView(bytes.buffer);
  for (const address of [-1n, 2n ** 40n, 2n ** 62n]) {
    view.setBigInt64(inode + 112, address, true);
    const read = () => open(bytes).read("/boot/kernel/vmunix");
    assertThrows(read, LoaderError, "has a block at fragment");
  }
});

Deno.test("Superblocks that make no sense are refused by field", async () => {
  const whole = await image("-o version=2");
  const rows: [number, number, string][] = [
    [48, 12288, "its block size is 12288, expected a power of two"],
    [52, 128, "its fragment size is 128"],
    [44, 0, "its number of groups is 0"],
    [184, 0, "its inodes of a group is 0"],
  ];
  for (const [field, value, message] of rows) {
    const bytes = whole.slice();
    new DataView(bytes.buffer).setUint32(SUPERBLOCK + field, value, true);
    const { message: said } = assertThrows(() => open(bytes), LoaderError);
    assertStringIncludes(said, message);
    assertStringIncludes(said, "Cannot read disk0 as UFS2");
  }
});

Deno.test("UFS2 is found where FreeBSD has its superblock", async () => {
  const bytes = await inTemporary((directory) => {
    writeTree(directory, { "boot/loader.conf": "y=2" });
    // inodes enough that the place is in their table, behind those in use
    return makeUfs(directory, "-o version=2,density=1024 -s 1m");
  });
  const superblock = bytes.slice(SUPERBLOCK, SUPERBLOCK + 8192);
  new DataView(superblock.buffer).setBigUint64(1000, 65536n, true);
  bytes.fill(0, SUPERBLOCK, SUPERBLOCK + 8192);
  const without = new DiskImage("disk0", bytesAccess(bytes));
  assertEquals(openUfs(without, { mostBytes: 1 }), undefined);
  bytes.set(superblock, 65536);
  assertEquals(text(open(bytes), "/boot/loader.conf"), "y=2");
});

Deno.test("A big-endian file system is named", async () => {
  const bytes = await image("-B be -o version=2");
  assertThrows(() => open(bytes), LoaderError, "big-endian");
});

/** Everything that a loader does with a file system. */
function visit(fs: LoaderFileSystem): void {
  for (const path of ["/boot", "/many", "/"]) fs.list(path);
  for (const path of ["/boot/kernel/vmunix", "/link", "/long", "/loop"]) {
    fs.read(path);
  }
}

Deno.test("Damaged images are read or refused, nothing else", async () => {
  let refused = 0;
  for (const version of [1, 2]) {
    const whole = await image(`-o version=${version}`);
    const fields = [
      { at: SUPERBLOCK, length: 1376 },
      { at: 32768, length: 131072 },
    ];
    for (const bytes of flips(whole, { seed: version, count: 1500, fields })) {
      try {
        const disk = new DiskImage("disk0", bytesAccess(bytes));
        const fs = openUfs(disk, { mostBytes: 2 ** 23 });
        if (fs !== undefined) visit(fs);
      } catch (error) {
        if (!(error instanceof LoaderError)) throw error;
        refused++;
      }
    }
  }
  assert(refused > 1500, `${refused} were refused`);
});
