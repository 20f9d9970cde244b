// UFS1 and UFS2, read-only (FreeBSD: fs(5), dir(5), <ufs/ufs/dinode.h>): directories,
// links, files with holes and indirect blocks. No extended attributes, snapshots,
// big-endian file systems, or directories in the format of 4.2BSD.

import type { LoaderFileSystem } from "./file_system.ts";
import { type DiskImage, textAt } from "./image.ts";
import {
  type FileTree,
  type NodeKind,
  type ReadLimit,
  TreeFileSystem,
} from "./tree.ts";
import { readUfsGeometry, type UfsGeometry } from "./ufs_superblock.ts";

interface Inode {
  readonly number: number;
  readonly kind: NodeKind;
  readonly size: number;
  readonly fields: DataView;
}

interface Entry {
  readonly name: string;
  readonly inode: number;
}

const ROOT_INODE = 2;
const MOST_DIRECTORY = 2 ** 22;
const MOST_TARGET = 1024;
/** A directory's entries do not cross these. */
const DIRECTORY_BLOCK = 512;
const ENTRY_HEADER = 8;
const DIRECT = 12;
const LEVELS = 3;
const FORMAT = 0o17_0000;
const KINDS: Readonly<Record<number, NodeKind>> = {
  0o04_0000: "directory",
  0o10_0000: "file",
  0o12_0000: "link",
};
/** Where inodes have what. */
const LAYOUTS = {
  1: { bytes: 128, pointer: 4, size: 8, blocks: 40 },
  2: { bytes: 256, pointer: 8, size: 16, blocks: 112 },
} as const;

class UfsTree implements FileTree<Inode, Entry> {
  readonly #image: DiskImage;
  readonly #geometry: UfsGeometry;
  readonly #most: number;

  constructor(image: DiskImage, geometry: UfsGeometry, limit: ReadLimit) {
    this.#image = image;
    this.#geometry = geometry;
    this.#most = limit.mostBytes;
  }

  get #kind(): string {
    return `UFS${this.#geometry.version}`;
  }

  get name(): string {
    return `${this.#image.name} (${this.#kind})`;
  }

  get #layout() {
    return LAYOUTS[this.#geometry.version];
  }

  #error(problem: string): Error {
    return this.#image.error(this.#kind, problem);
  }

  root(): Inode {
    const root = this.#inode(ROOT_INODE);
    if (root.kind === "directory") return root;
    throw this.#error("its inode 2 is no directory");
  }

  kind({ kind }: Inode): NodeKind {
    return kind;
  }

  #inode(number: number): Inode {
    const g = this.#geometry;
    if (number < ROOT_INODE || number >= g.groups * g.inodesPerGroup) {
      throw this.#error(
        `a directory names inode ${number}, expected 2 to ${
          g.groups * g.inodesPerGroup - 1
        }`,
      );
    }
    const { bytes, size } = this.#layout;
    const group = Math.floor(number / g.inodesPerGroup);
    const start = group * g.fragmentsPerGroup +
      g.cycle * ((group & ~g.mask) >>> 0);
    const at = (start + g.inodeOffset) * g.fragmentSize +
      (number % g.inodesPerGroup) * bytes;
    const what = `inode ${number}`;
    const fields = this.#image.read(at, bytes, this.#kind, what);
    return {
      number,
      kind: KINDS[fields.getUint16(0, true) & FORMAT] ?? "other",
      size: Number(fields.getBigUint64(size, true)),
      fields,
    };
  }

  #pointer(fields: DataView, index: number, base = 0): number {
    return this.#layout.pointer === 4
      ? fields.getInt32(base + 4 * index, true)
      : Number(fields.getBigInt64(base + 8 * index, true));
  }

  // A fragment's place in the image; the image itself may end earlier.
  #place({ number }: Inode, fragment: number): number {
    const { size, fragmentSize } = this.#geometry;
    if (fragment > 0 && fragment < size) return fragment * fragmentSize;
    throw this.#error(
      `inode ${number} has a block at fragment ${fragment}, expected 1 to ${
        size - 1
      }`,
    );
  }

  /** The addresses of an inode's blocks, 0 for holes, without an end. */
  *#blocks(inode: Inode): Generator<number> {
    const { blocks } = this.#layout;
    for (let n = 0; n < DIRECT; n++) {
      yield this.#pointer(inode.fields, n, blocks);
    }
    for (let level = 1; level <= LEVELS; level++) {
      const top = this.#pointer(inode.fields, DIRECT + level - 1, blocks);
      yield* this.#indirect(inode, top, level);
    }
  }

  *#indirect(inode: Inode, address: number, level: number): Generator<number> {
    const { blockSize } = this.#geometry;
    const count = blockSize / this.#layout.pointer;
    if (address === 0) {
      for (let n = 0; n < count ** level; n++) yield 0;
      return;
    }
    const table = this.#image.read(
      this.#place(inode, address),
      blockSize,
      this.#kind,
      `an indirect block of inode ${inode.number}`,
    );
    for (let n = 0; n < count; n++) {
      const pointer = this.#pointer(table, n);
      if (level === 1) yield pointer;
      else yield* this.#indirect(inode, pointer, level - 1);
    }
  }

  #read(inode: Inode, most: number, what: string): Uint8Array {
    const { number, size } = inode;
    if (size > most) {
      throw this.#error(
        `${what} (inode ${number}) has ${size} bytes, expected at most ${most}`,
      );
    }
    const content = new Uint8Array(size);
    const { blockSize, fragmentsPerBlock } = this.#geometry;
    const blocks = this.#blocks(inode);
    let run = { address: 0, at: 0, end: 0 };
    const finish = () => this.#readRun(inode, content, run);
    for (let at = 0; at < size; at += blockSize) {
      const address = blocks.next().value ?? 0;
      const end = Math.min(at + blockSize, size);
      const next = run.address +
        (run.end - run.at) / blockSize * fragmentsPerBlock;
      if (run.address !== 0 && address === next) {
        run.end = end;
        continue;
      }
      finish();
      run = { address, at, end };
    }
    finish();
    return content;
  }

  // Blocks that lie one behind another are read at once.
  #readRun(
    inode: Inode,
    content: Uint8Array,
    run: { address: number; at: number; end: number },
  ): void {
    if (run.address === 0 || run.at === run.end) return;
    this.#image.readInto(
      content.subarray(run.at, run.end),
      this.#place(inode, run.address),
      this.#kind,
      `inode ${inode.number}`,
    );
  }

  id({ number }: Inode): number {
    return number;
  }

  size({ size }: Inode): number {
    return size;
  }

  spelling(name: string): string {
    return name;
  }

  node({ inode }: Entry): Inode {
    return this.#inode(inode);
  }

  *entries(directory: Inode): Generator<Entry> {
    const bytes = this.#read(directory, MOST_DIRECTORY, "a directory");
    const fields = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length;) {
      const space = Math.min(
        DIRECTORY_BLOCK - at % DIRECTORY_BLOCK,
        bytes.length - at,
      );
      const [length, nameLength] = space < ENTRY_HEADER
        ? [0, 0]
        : [fields.getUint16(at + 4, true), fields.getUint8(at + 7)];
      if (length < ENTRY_HEADER + nameLength || length > space) {
        throw this.#error(
          `an entry of directory ${directory.number} at ${at} has ${length} bytes and a name of ${nameLength}, expected ${ENTRY_HEADER} to ${space} bytes with the name in them`,
        );
      }
      const inode = fields.getUint32(at, true);
      const name = textAt(fields, at + ENTRY_HEADER, nameLength);
      if (inode !== 0 && nameLength > 0) yield { name, inode };
      at += length;
    }
  }

  target(link: Inode): string {
    const { inlineLinkMax } = this.#geometry;
    if (link.size < inlineLinkMax) {
      return textAt(link.fields, this.#layout.blocks, link.size);
    }
    const bytes = this.#read(link, MOST_TARGET, "a link");
    return textAt(new DataView(bytes.buffer), 0, bytes.length);
  }

  content(file: Inode): Uint8Array {
    return this.#read(file, this.#most, "a file");
  }
}

/**
 * The files of a UFS, undefined where the image has none.
 *
 * @throws {LoaderError} where it is damaged; reading files throws it as well
 */
export function openUfs(
  image: DiskImage,
  limit: ReadLimit,
): LoaderFileSystem | undefined {
  const geometry = readUfsGeometry(image);
  if (geometry === undefined) return undefined;
  return new TreeFileSystem(new UfsTree(image, geometry, limit));
}
