// ISO 9660 as Debian's genisoimage makes it, with Rock Ridge and without, whole and
// damaged.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { makeIso, writeTree } from "./_disk_images.ts";
import { flips, inTemporary, random } from "./_testing_disks.ts";
import { LoaderError } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";
import { bytesAccess, DiskImage } from "./image.ts";
import { openIso9660 } from "./iso9660.ts";

const LARGE = random(300_000);
const NAMES = Array.from({ length: 200 }, (_, n) => `a-file-of-many-${n}.conf`);
const LONG = `long-${"n".repeat(240)}`;
// genisoimage writes longer ones wrong
const TARGET = `${"../boot/".repeat(30)}loader.conf`;
const DEEP = "1/2/3/4/5/6/7/8/9/10";
const TREE = {
  "boot/kernel/kernel": LARGE,
  "boot/loader.conf": 'x="1"\n',
  "link": { link: "/boot/kernel/../loader.conf" },
  "boot/relative": { link: "kernel" },
  "loop": { link: "loop" },
  "far/long": { link: TARGET },
  [LONG]: "long",
  [`${DEEP}/file`]: "deep",
  ...Object.fromEntries(NAMES.map((name, n) => [`many/${name}`, `${n}`])),
};

const IMAGES = new Map<string, Promise<Uint8Array>>();

function image(...options: string[]): Promise<Uint8Array> {
  const key = options.join(" ");
  const made = IMAGES.get(key) ?? inTemporary((directory) => {
    writeTree(directory, TREE);
    return makeIso(directory, options);
  });
  IMAGES.set(key, made);
  return made;
}

function open(bytes: Uint8Array, mostBytes = 2 ** 24): LoaderFileSystem {
  const disk = new DiskImage("disk0", bytesAccess(bytes));
  const fs = openIso9660(disk, { mostBytes });
  if (fs === undefined) throw new Error("it is no ISO 9660");
  return fs;
}

// Large arrays are not compared by assertEquals, which would print the difference.
function assertLarge(fs: LoaderFileSystem, path: string): void {
  const content = fs.read(path);
  assertEquals(content?.length, LARGE.length, path);
  assertEquals(content?.findIndex((byte, n) => byte !== LARGE[n]), -1, path);
}

function text(fs: LoaderFileSystem, path: string): string | undefined {
  const bytes = fs.read(path);
  return bytes && new TextDecoder().decode(bytes);
}

Deno.test("Rock Ridge has names, links and moved directories", async () => {
  const fs = open(await image("-R"));
  assertLarge(fs, "/boot/kernel/kernel");
  assertLarge(fs, "/boot/relative/kernel");
  for (const path of ["/link", "/far/long", "/boot/../boot/loader.conf"]) {
    assertEquals(text(fs, path), 'x="1"\n', path);
  }
  assertEquals(text(fs, `/${LONG}`), "long");
  assertEquals(text(fs, `/${DEEP}/file`), "deep");
  assertEquals(fs.list(`/${DEEP}`), ["file"]);
  assertEquals(fs.list("/many")?.toSorted(), NAMES.toSorted());
  assertEquals(text(fs, "/many/A-FILE-OF-MANY-1.conf"), undefined);
  assertEquals(fs.list("/boot")?.toSorted(), [
    ...["kernel", "loader.conf", "relative"],
  ]);
});

Deno.test("Without Rock Ridge names are in small letters, without versions", async () => {
  const fs = open(await image("-D"));
  assertLarge(fs, "/boot/kernel/kernel");
  assertLarge(fs, "/BOOT/Kernel/KERNEL");
  assertEquals(fs.list("/boot")?.toSorted(), ["kernel", "loader.con"]);
  assertEquals(text(fs, "/boot/loader.con"), 'x="1"\n');
});

Deno.test("What is not there is undefined", async () => {
  const fs = open(await image("-R"));
  for (const path of ["/nothing", "/boot", "/boot/loader.conf/x", "/link/x"]) {
    assertEquals(fs.read(path), undefined, path);
  }
  assertEquals(fs.list("/boot/loader.conf"), undefined);
  const none = new DiskImage("disk0", bytesAccess(new Uint8Array(2 ** 20)));
  assertEquals(openIso9660(none, { mostBytes: 1 }), undefined);
});

Deno.test("Links without end, files too large and odd block sizes are refused", async () => {
  const bytes = await image("-R");
  const fs = open(bytes, 1000);
  assertThrows(() => fs.read("/loop"), LoaderError, "more than 32 links");
  assertThrows(
    () => fs.read("/boot/kernel/kernel"),
    LoaderError,
    "file kernel has 300000 bytes, expected at most 1000",
  );
  const odd = bytes.slice();
  new DataView(odd.buffer).setUint16(16 * 2048 + 128, 1000, true);
  assertThrows(() => open(odd), LoaderError, "its block size is 1000");
});

Deno.test("Compressed files are refused by name", async () => {
  const bytes = (await image("-R")).slice();
  // the time stamps of a record become its mark of zisofs
  const name = new TextEncoder().encode("NM");
  for (let at = 0; at + 40 < bytes.length; at++) {
    const isName = bytes[at] === name[0] && bytes[at + 1] === name[1];
    const isKernel = bytes[at + 2] === 11 &&
      new TextDecoder().decode(bytes.subarray(at + 5, at + 11)) === "kernel";
    if (!isName || !isKernel) continue;
    const stamps = bytes.subarray(at, at + 300);
    const offset = stamps.findIndex((byte, n) =>
      byte === 0x54 && stamps[n + 1] === 0x46
    );
    if (offset >= 0) stamps.set([0x5a, 0x46], offset);
  }
  assertThrows(
    () => open(bytes).read("/boot/kernel/kernel"),
    LoaderError,
    "file kernel is compressed by zisofs",
  );
});

Deno.test("A record that goes on in itself ends in an error", async () => {
  const bytes = (await image("-R")).slice();
  let changed = 0;
  for (let at = 0; at + 28 < bytes.length; at++) {
    const isOn = bytes[at] === 0x43 && bytes[at + 1] === 0x45 &&
      bytes[at + 2] === 28 && bytes[at + 3] === 1;
    if (!isOn) continue;
    const view = new DataView(bytes.buffer, at, 28);
    const area = view.getUint32(4, true) * 2048 + view.getUint32(12, true);
    if (area + 28 > bytes.length) continue;
    bytes.set(bytes.subarray(at, at + 28), area);
    changed++;
  }
  assert(changed > 0);
  assertThrows(() => open(bytes).list("/"), LoaderError, "expected at most");
});

/** Everything that a loader does with a file system. */
function visit(fs: LoaderFileSystem): void {
  for (const path of ["/boot", "/many", "/", `/${DEEP}`]) fs.list(path);
  for (const path of ["/boot/kernel/kernel", "/link", "/far/long", "/loop"]) {
    fs.read(path);
  }
}

Deno.test("Damaged images are read or refused, nothing else", async () => {
  let refused = 0;
  for (const options of [["-R"], ["-D"]]) {
    const whole = await image(...options);
    const fields = [
      { at: 16 * 2048, length: 256 },
      { at: 18 * 2048, length: 60 * 2048 },
    ];
    for (const bytes of flips(whole, { seed: 7, count: 2000, fields })) {
      try {
        const disk = new DiskImage("disk0", bytesAccess(bytes));
        const fs = openIso9660(disk, { mostBytes: 2 ** 23 });
        if (fs !== undefined) visit(fs);
      } catch (error) {
        if (!(error instanceof LoaderError)) throw error;
        refused++;
      }
    }
  }
  assert(refused > 1500, `${refused} were refused`);
});
