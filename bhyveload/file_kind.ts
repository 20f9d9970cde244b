// What a file is that is no kernel, by how it begins: for messages to whoever took it
// for one.

import type { LoaderFile } from "../vmm/loader/mod.ts";

const KINDS: readonly (readonly [at: number, begins: string, what: string])[] =
  [
    [0, "\x1f\x8b", "a gzip file"],
    [0, "\xfd7zXZ", "an xz file"],
    [0, "\x28\xb5\x2f\xfd", "a zstd file"],
    [0, "BZh", "a bzip2 file"],
    [0, "\x04\x22\x4d\x18", "an LZ4 file"],
    [0, "070701", "a cpio archive"],
    [0, "MZ", "a program for Windows or EFI"],
    [0, "#!", "a script"],
    [0, "QFI\xfb", "a qcow2 disk image"],
    [0, "!<arch>", "an archive or Debian package"],
    [257, "ustar", "a tar archive"],
    [510, "\x55\xaa", "a disk image or boot sector"],
    [0x8001, "CD001", "an ISO 9660 disk image"],
  ];
const TEXT = /^[\t\n\r\x20-\x7e]*$/;
const LOOKED_AT = 256;

function latin1(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

/** What a file is, such as `a gzip file`. */
export function fileKind({ bytes }: LoaderFile): string {
  if (bytes.length === 0) return "an empty file";
  const known = KINDS.find(([at, begins]) =>
    latin1(bytes, at, begins.length) === begins
  );
  if (known !== undefined) return known[2];
  return TEXT.test(latin1(bytes, 0, LOOKED_AT))
    ? "a text file"
    : "unknown data";
}
