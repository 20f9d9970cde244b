// The file system on a disk image that a FreeBSD loader would boot from: in one of
// its partitions, or on the whole disk. UFS and ISO 9660; a ZFS pool is named, not
// read.

import { LoaderError } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";
import type { DiskImage } from "./image.ts";
import { openIso9660 } from "./iso9660.ts";
import { type Partition, partitionsOf } from "./partitions.ts";
import type { ReadLimit } from "./tree.ts";
import { openUfs } from "./ufs.ts";

/** A file system and where it is. */
export interface FoundFileSystem {
  /** such as `disk0p2` */
  readonly where: string;
  /** such as `UFS` */
  readonly kind: string;
  readonly fs: LoaderFileSystem;
}

const KINDS = [
  ["UFS", openUfs],
  ["ISO 9660", openIso9660],
] as const;

function open(image: DiskImage, limit: ReadLimit): FoundFileSystem | undefined {
  for (const [kind, opens] of KINDS) {
    const fs = opens(image, limit);
    if (fs !== undefined) return { where: image.name, kind, fs };
  }
  return undefined;
}

/** A look at an image that remembers what was wrong with it. */
class Search {
  readonly #limit: ReadLimit;
  readonly problems: string[] = [];
  /** the first file system at all, and the first that has a directory `/boot` */
  first: FoundFileSystem | undefined;
  bootable: FoundFileSystem | undefined;

  constructor(limit: ReadLimit) {
    this.#limit = limit;
  }

  look(image: DiskImage | undefined): void {
    if (image === undefined || this.bootable !== undefined) return;
    try {
      const found = open(image, this.#limit);
      if (found === undefined) return;
      if (found.fs.list("/boot") !== undefined) this.bootable = found;
      this.first ??= found;
    } catch (error) {
      if (!(error instanceof LoaderError)) throw error;
      this.problems.push(error.message);
    }
  }
}

function describe(partitions: readonly Partition[]): string {
  if (partitions.length === 0) return "it has no partitions";
  const list = partitions.map(({ name, type, image }) =>
    `${name} ${type}${image === undefined ? " behind the image's end" : ""}`
  );
  return `its partitions are ${list.join(", ")}`;
}

/**
 * The file system to boot from: the first that has a directory `/boot`, or else the
 * first at all.
 *
 * @throws {LoaderError} where there is none, with what there is instead, or where
 *   it is damaged
 */
export function findFileSystem(
  image: DiskImage,
  limit: ReadLimit,
): FoundFileSystem {
  const partitions = partitionsOf(image);
  const search = new Search(limit);
  for (const partition of partitions) search.look(partition.image);
  search.look(image);
  const found = search.bootable ?? search.first;
  if (found !== undefined) return found;
  const [problem] = search.problems;
  throw new LoaderError(
    problem ??
      `Cannot find a file system on ${image.name}: expected UFS or ISO 9660, ${
        describe(partitions)
      }`,
  );
}
