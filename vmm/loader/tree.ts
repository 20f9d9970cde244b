// Paths in a file system on a disk: a walk over directories and symbolic links with
// bounded work, whatever the disk says. ".." stays inside, as in chroot(2).

import { LoaderError } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";

/** What a node of a file system is. */
export type NodeKind = "file" | "directory" | "link" | "other";

/** How much of a disk's files may be read. */
export interface ReadLimit {
  /** bytes of one file; as many as the guest's memory has are enough */
  readonly mostBytes: number;
}

/** A file system's nodes, and the entries of its directories. */
export interface FileTree<Node, Entry extends { readonly name: string }> {
  /** its name in messages, such as `disk0p2 (UFS2)` */
  readonly name: string;
  /** The root directory. @throws {LoaderError} where there is none */
  root(): Node;
  /** What a node is. */
  kind(node: Node): NodeKind;
  /** Tells directories apart. */
  id(directory: Node): number;
  /** The bytes of a directory. */
  size(directory: Node): number;
  /** What is in a directory, in its order. @throws {LoaderError} where damaged */
  entries(directory: Node): Iterable<Entry>;
  /** What an entry stands for. @throws {LoaderError} where damaged */
  node(entry: Entry): Node;
  /** A name as entries have it, where several spellings stand for one entry. */
  spelling(name: string): string;
  /** Where a link leads. @throws {LoaderError} where damaged */
  target(link: Node): string;
  /** What is in a file. @throws {LoaderError} where damaged or too large */
  content(file: Node): Uint8Array;
}

/** Links on the way to a file, as FreeBSD's MAXSYMLINKS. */
const MOST_LINKS = 32;
const MOST_STEPS = 1024;
/** Bytes of all directories that are read: those of a system have far fewer. */
const MOST_DIRECTORIES = 2 ** 26;

/** The files of a tree, by path. */
export class TreeFileSystem<Node, Entry extends { readonly name: string }>
  implements LoaderFileSystem {
  readonly #tree: FileTree<Node, Entry>;
  readonly #directories = new Map<number, ReadonlyMap<string, Entry>>();
  #read = 0;

  /** @param tree what is read */
  constructor(tree: FileTree<Node, Entry>) {
    this.#tree = tree;
  }

  /** A file's content, undefined where there is none. @throws {LoaderError} */
  read(path: string): Uint8Array | undefined {
    const node = this.#resolve(path);
    return node !== undefined && this.#tree.kind(node) === "file"
      ? this.#tree.content(node)
      : undefined;
  }

  /** A directory's names, undefined where there is none. @throws {LoaderError} */
  list(path: string): string[] | undefined {
    const node = this.#resolve(path);
    if (node === undefined || this.#tree.kind(node) !== "directory") {
      return undefined;
    }
    return [...this.#directory(node).keys()]
      .filter((name) => name !== "." && name !== "..");
  }

  #directory(node: Node): ReadonlyMap<string, Entry> {
    const id = this.#tree.id(node);
    const known = this.#directories.get(id);
    if (known !== undefined) return known;
    this.#read += this.#tree.size(node);
    if (this.#read > MOST_DIRECTORIES) {
      throw new LoaderError(
        `Cannot read ${this.#tree.name}: its directories have more than ${MOST_DIRECTORIES} bytes`,
      );
    }
    const entries = new Map<string, Entry>();
    for (const entry of this.#tree.entries(node)) {
      if (!entries.has(entry.name)) entries.set(entry.name, entry);
    }
    this.#directories.set(id, entries);
    return entries;
  }

  #child(directory: Node, name: string): Node | undefined {
    if (this.#tree.kind(directory) !== "directory") return undefined;
    const entry = this.#directory(directory)
      .get(this.#tree.spelling(name));
    return entry && this.#tree.node(entry);
  }

  #resolve(path: string): Node | undefined {
    const root = this.#tree.root();
    let way = [root];
    let names = split(path);
    let links = 0;
    for (let steps = 0; names.length > 0; steps++) {
      if (steps > MOST_STEPS) throw this.#error(path, "it has too many parts");
      const [name, ...rest] = names as [string, ...string[]];
      names = rest;
      if (name === "..") {
        if (way.length > 1) way.pop();
        continue;
      }
      const node = this.#child(way.at(-1)!, name);
      if (node === undefined) return undefined;
      if (this.#tree.kind(node) !== "link") {
        way.push(node);
        continue;
      }
      if (++links > MOST_LINKS) {
        throw this.#error(path, `it leads over more than ${MOST_LINKS} links`);
      }
      const target = this.#tree.target(node);
      names = [...split(target), ...rest];
      if (target.startsWith("/")) way = [root];
    }
    return way.at(-1);
  }

  #error(path: string, problem: string): LoaderError {
    return new LoaderError(
      `Cannot read ${path} on ${this.#tree.name}: ${problem}`,
    );
  }
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}
