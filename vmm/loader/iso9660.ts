// ISO 9660 (ECMA-119) with Rock Ridge, read-only: the primary volume's directories,
// files and links. No Joliet, interleaved files, or files in several extents.

import type { LoaderFileSystem } from "./file_system.ts";
import { type DiskImage, textAt } from "./image.ts";
import { readRockRidge, type RockRidge, rockRidgeSkip } from "./rock_ridge.ts";
import {
  type FileTree,
  type NodeKind,
  type ReadLimit,
  TreeFileSystem,
} from "./tree.ts";

const KIND = "ISO 9660";
const SECTOR = 2048;
const FIRST_DESCRIPTOR = 16;
const MOST_DESCRIPTORS = 32;
/** Of all records of a disk: an image's own would be far fewer. */
const MOST_CONTINUATIONS = 2 ** 16;
const PRIMARY = 1;
const LAST = 255;
const MOST_DIRECTORY = 2 ** 22;
/** Offsets in the primary volume descriptor. */
const VOLUME = { BLOCK_SIZE: 128, ROOT: 156 } as const;
/** Offsets in a directory record. */
const RECORD = {
  LENGTH: 0,
  EXTENDED: 1,
  EXTENT: 2,
  SIZE: 10,
  FLAGS: 25,
  UNIT: 26,
  NAME_LENGTH: 32,
  NAME: 33,
} as const;
const FLAG = { DIRECTORY: 2, CONTINUES: 0x80 } as const;

interface IsoNode {
  readonly name: string;
  readonly kind: NodeKind;
  /** first block of its content */
  readonly extent: number;
  readonly size: number;
  readonly target: string;
  /** why its content cannot be read */
  readonly problem?: string;
}

function findVolume(image: DiskImage): DataView | undefined {
  for (let n = 0; n < MOST_DESCRIPTORS; n++) {
    const sector = image.peek((FIRST_DESCRIPTOR + n) * SECTOR, SECTOR);
    if (sector === undefined || textAt(sector, 1, 5) !== "CD001") break;
    const type = sector.getUint8(0);
    if (type === PRIMARY) return sector;
    if (type === LAST) break;
  }
  return undefined;
}

function problemOf(record: DataView, rock: RockRidge): string | undefined {
  if (rock.isCompressed) return "is compressed by zisofs";
  if (record.getUint8(RECORD.UNIT) !== 0) return "is interleaved";
  return (record.getUint8(RECORD.FLAGS) & FLAG.CONTINUES) !== 0
    ? "lies in several extents"
    : undefined;
}

/** A name without Rock Ridge: no version, no empty extension, small letters. */
function plainName(name: string): string {
  return name.replace(/;\d*$/, "").replace(/\.$/, "").toLowerCase();
}

class IsoTree implements FileTree<IsoNode, IsoNode> {
  readonly #image: DiskImage;
  readonly #most: number;
  readonly #blockSize: number;
  readonly #root: IsoNode;
  #continuations = 0;
  /** bytes to skip in system use areas; undefined: no Rock Ridge */
  readonly #skip: number | undefined;

  constructor(image: DiskImage, volume: DataView, limit: ReadLimit) {
    this.#image = image;
    this.#most = limit.mostBytes;
    this.#blockSize = volume.getUint16(VOLUME.BLOCK_SIZE, true);
    if (![512, 1024, SECTOR].includes(this.#blockSize)) {
      throw image.error(
        KIND,
        `its block size is ${this.#blockSize}, expected 512, 1024 or 2048`,
      );
    }
    const { buffer, byteOffset } = volume;
    const record = new DataView(buffer, byteOffset + VOLUME.ROOT, RECORD.NAME);
    this.#root = this.#node(record, "", {});
    if (this.#root.kind !== "directory") {
      throw image.error(KIND, "its root is no directory");
    }
    const [own] = this.#records(this.#root);
    this.#skip = own && rockRidgeSkip(systemUse(own, 0));
  }

  get name(): string {
    return `${this.#image.name} (${KIND})`;
  }

  root(): IsoNode {
    return this.#root;
  }

  kind({ kind }: IsoNode): NodeKind {
    return kind;
  }

  #node(record: DataView, name: string, rock: RockRidge): IsoNode {
    if (rock.child !== undefined) return this.#moved(rock.child, name, rock);
    const isDirectory = (record.getUint8(RECORD.FLAGS) & FLAG.DIRECTORY) !== 0;
    const problem = problemOf(record, rock);
    return {
      name: rock.name ?? name,
      kind: isDirectory ? "directory" : rock.kind ?? "file",
      extent: record.getUint32(RECORD.EXTENT, true) +
        record.getUint8(RECORD.EXTENDED),
      size: record.getUint32(RECORD.SIZE, true),
      target: rock.target ?? "",
      ...(problem === undefined ? {} : { problem }),
    };
  }

  // A directory that was moved says in its own first record how large it is.
  #moved(extent: number, name: string, rock: RockRidge): IsoNode {
    const what = `directory ${rock.name ?? name}`;
    const at = extent * this.#blockSize;
    const own = this.#image.read(at, RECORD.NAME, KIND, what);
    return {
      name: rock.name ?? name,
      kind: "directory",
      extent,
      size: own.getUint32(RECORD.SIZE, true),
      target: "",
    };
  }

  #directoryBytes({ name, extent, size }: IsoNode): DataView {
    const what = `directory ${name || "/"}`;
    if (size > MOST_DIRECTORY) {
      throw this.#image.error(
        KIND,
        `${what} has ${size} bytes, expected at most ${MOST_DIRECTORY}`,
      );
    }
    return this.#image.read(extent * this.#blockSize, size, KIND, what);
  }

  *#records(directory: IsoNode): Generator<DataView> {
    const bytes = this.#directoryBytes(directory);
    for (let at = 0; at < bytes.byteLength;) {
      const sectorEnd = (Math.floor(at / SECTOR) + 1) * SECTOR;
      const space = Math.min(sectorEnd, bytes.byteLength) - at;
      const length = bytes.getUint8(at + RECORD.LENGTH);
      if (length === 0) {
        at = sectorEnd;
        continue;
      }
      const name = length > RECORD.NAME && length <= space
        ? bytes.getUint8(at + RECORD.NAME_LENGTH)
        : length;
      if (RECORD.NAME + name > length) {
        throw this.#image.error(
          KIND,
          `a record of directory ${
            directory.name || "/"
          } at ${at} has ${length} bytes, expected ${
            RECORD.NAME + 1
          } to ${space} with its name in it`,
        );
      }
      yield new DataView(bytes.buffer, at, length);
      at += length;
    }
  }

  id({ extent }: IsoNode): number {
    return extent;
  }

  size({ size }: IsoNode): number {
    return size;
  }

  // without Rock Ridge, names have no case
  spelling(name: string): string {
    return this.#skip === undefined ? name.toLowerCase() : name;
  }

  node(entry: IsoNode): IsoNode {
    return entry;
  }

  *entries(directory: IsoNode): Generator<IsoNode> {
    for (const record of this.#records(directory)) {
      const length = record.getUint8(RECORD.NAME_LENGTH);
      // "." and ".." have names of one byte, 0 and 1
      if (length === 1 && record.getUint8(RECORD.NAME) <= 1) continue;
      const name = plainName(textAt(record, RECORD.NAME, length));
      const rock = this.#rockRidge(record);
      if (!rock.isMoved) yield this.#node(record, name, rock);
    }
  }

  #rockRidge(record: DataView): RockRidge {
    if (this.#skip === undefined) return {};
    const area = systemUse(record, this.#skip);
    return readRockRidge(area, (block, offset, length) => {
      const at = block * this.#blockSize + offset;
      return this.#continuation(at, length);
    });
  }

  #continuation(at: number, length: number): DataView {
    const what = "the rest of a directory record";
    if (length > SECTOR || ++this.#continuations > MOST_CONTINUATIONS) {
      throw this.#image.error(
        KIND,
        `${what} has ${length} bytes and is one of ${this.#continuations}, expected at most ${SECTOR} bytes and ${MOST_CONTINUATIONS} of them`,
      );
    }
    return this.#image.read(at, length, KIND, what);
  }

  target({ target }: IsoNode): string {
    return target;
  }

  content({ name, extent, size, problem }: IsoNode): Uint8Array {
    if (problem !== undefined) {
      throw this.#image.error(KIND, `file ${name} ${problem}`);
    }
    if (size > this.#most) {
      throw this.#image.error(
        KIND,
        `file ${name} has ${size} bytes, expected at most ${this.#most}`,
      );
    }
    const content = new Uint8Array(size);
    const what = `file ${name}`;
    this.#image.readInto(content, extent * this.#blockSize, KIND, what);
    return content;
  }
}

// The system use area follows the name, at an even offset.
function systemUse(record: DataView, skip: number): DataView {
  const name = record.getUint8(RECORD.NAME_LENGTH);
  const start = Math.ceil((RECORD.NAME + name) / 2) * 2 + skip;
  const length = Math.max(record.byteLength - start, 0);
  const at = Math.min(start, record.byteLength);
  return new DataView(record.buffer, record.byteOffset + at, length);
}

/**
 * The files of an ISO 9660 disk, undefined where the image is none.
 *
 * @throws {LoaderError} where it is damaged; reading files throws it as well
 */
export function openIso9660(
  image: DiskImage,
  limit: ReadLimit,
): LoaderFileSystem | undefined {
  const volume = findVolume(image);
  if (volume === undefined) return undefined;
  return new TreeFileSystem(new IsoTree(image, volume, limit));
}
