// Disk images with partition tables: where the file system is found, in which order,
// and what is said where there is none.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  GPT_TYPE,
  makeIso,
  makeUfs,
  type Tree,
  withGpt,
  withLabel,
  withMbr,
  writeTree,
} from "./_disk_images.ts";
import { flips, inTemporary } from "./_testing_disks.ts";
import { findFileSystem } from "./disk.ts";
import { LoaderError } from "./file.ts";
import { crc32 } from "./gpt.ts";
import { bytesAccess, DiskImage } from "./image.ts";
import { partitionsOf } from "./partitions.ts";

function ufs(tree: Tree): Promise<Uint8Array> {
  return inTemporary((directory) => {
    writeTree(directory, tree);
    return makeUfs(directory, "-o version=2 -s 1m");
  });
}

const ROOT = await ufs({ "boot/name": "root" });
const OTHER = await ufs({ "boot/name": "other" });
const HOME = await ufs({ "user/file": "home" });
const ISO = await inTemporary((directory) => {
  writeTree(directory, { "boot/name": "iso" });
  return makeIso(directory, ["-R"]);
});
const NOTHING = new Uint8Array(65536);

function disk(bytes: Uint8Array): DiskImage {
  return new DiskImage("disk0", bytesAccess(bytes));
}

const LIMIT = { mostBytes: 2 ** 20 };

function look(bytes: Uint8Array): [where: string, name: string] {
  const { where, fs } = findFileSystem(disk(bytes), LIMIT);
  return [where, new TextDecoder().decode(fs.read("/boot/name"))];
}

function sectors(bytes: Uint8Array): number {
  return bytes.length / 512;
}

/** A slice whose label has a file system as `a` and swap as `b`. */
function labelled(bytes: Uint8Array, base = 0): Uint8Array {
  return withLabel(bytes, [
    { start: base, sectors: sectors(bytes), type: 7 },
    { start: base + 4, sectors: 8, type: 1 },
    { start: base, sectors: sectors(bytes), type: 0 },
  ]);
}

const { FREEBSD_UFS, FREEBSD_ZFS, EFI } = GPT_TYPE;
const PLACES: readonly [string, Uint8Array, string, string][] = [
  ["the whole disk, UFS", ROOT, "disk0", "root"],
  ["the whole disk, ISO 9660", ISO, "disk0", "iso"],
  ["a label on the disk", labelled(ROOT), "disk0a", "root"],
  [
    "a GPT, behind others",
    withGpt([
      { type: EFI, bytes: NOTHING },
      { type: FREEBSD_ZFS, bytes: NOTHING },
      { type: FREEBSD_UFS, bytes: ROOT },
      { type: FREEBSD_UFS, bytes: OTHER },
    ]),
    ...["disk0p3", "root"] as const,
  ],
  [
    "a GPT, behind one without /boot",
    withGpt([
      { type: FREEBSD_UFS, bytes: HOME },
      { type: FREEBSD_UFS, bytes: ROOT },
    ]),
    ...["disk0p2", "root"] as const,
  ],
  [
    "a slice",
    withMbr([{ type: 0xc, bytes: NOTHING }, { type: 0xa5, bytes: ROOT }]),
    ...["disk0s2", "root"] as const,
  ],
  [
    "the active slice, with a label",
    withMbr([
      { type: 0xa5, bytes: labelled(OTHER) },
      { type: 0xa5, bytes: labelled(ROOT), isActive: true },
    ]),
    ...["disk0s2a", "root"] as const,
  ],
  [
    "a label whose offsets are the disk's",
    withMbr([{ type: 0xa5, bytes: labelled(ROOT, 64) }]),
    ...["disk0s1a", "root"] as const,
  ],
];

for (const [place, bytes, where, name] of PLACES) {
  Deno.test(`A file system is found on ${place}`, () => {
    assertEquals(look(bytes), [where, name]);
  });
}

Deno.test("The copy of a GPT serves where the first is damaged", () => {
  const bytes = withGpt([{ type: FREEBSD_UFS, bytes: ROOT }]);
  for (const at of [512, 512 + 20, 1024 + 40]) {
    const damaged = bytes.slice();
    damaged[at]! ^= 1;
    assertEquals(look(damaged), ["disk0p1", "root"]);
    const both = damaged.slice();
    both[both.length - 512]! ^= 1;
    assertEquals(partitionsOf(disk(both)), []);
  }
});

Deno.test("CRC-32 is the one of ISO 3309", () => {
  assertEquals(crc32(new TextEncoder().encode("123456789")), 0xcbf4_3926);
});

Deno.test("What there is instead of a file system is said", () => {
  const zfs = withGpt([
    { type: EFI, bytes: NOTHING },
    { type: FREEBSD_ZFS, bytes: NOTHING },
  ]);
  const cut = withMbr([
    { type: 0x83, bytes: NOTHING },
    { type: 0xa5, bytes: ROOT },
  ]).slice(0, 65536);
  const damaged = ROOT.slice();
  new DataView(damaged.buffer).setUint32(8192 + 48, 3, true);
  const rows: [Uint8Array, string][] = [
    [NOTHING, "expected UFS or ISO 9660, it has no partitions"],
    [new Uint8Array(0), "it has no partitions"],
    [zfs, "its partitions are p1 efi, p2 freebsd-zfs"],
    [cut, "s2 freebsd behind the image's end"],
    [cut, "s1 type 0x83"],
    [damaged, "Cannot read disk0 as UFS2: its block size is 3"],
  ];
  for (const [bytes, message] of rows) {
    assertThrows(() => look(bytes), LoaderError, message);
  }
});

Deno.test("Damaged tables lead to a file system or an error", () => {
  let found = 0;
  for (const [, whole] of PLACES.slice(2)) {
    const fields = [{ at: 440, length: 72 }, { at: 512, length: 512 }];
    for (const bytes of flips(whole, { seed: 3, count: 150, fields })) {
      try {
        findFileSystem(disk(bytes), LIMIT).fs.read("/boot/name");
        found++;
      } catch (error) {
        if (!(error instanceof LoaderError)) throw error;
      }
    }
  }
  assert(found > 100, `${found} were found`);
});
