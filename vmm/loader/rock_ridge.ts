// What Rock Ridge (IEEE P1282, Rock Ridge Interchange Protocol 1.12) adds to a
// directory record of ISO 9660, by the System Use Sharing Protocol (IEEE P1281):
// names, kinds, links and moved directories. No device numbers or sparse files.

import { textAt } from "./image.ts";
import type { NodeKind } from "./tree.ts";

/** What the fields of a record say. */
export interface RockRidge {
  readonly name?: string;
  readonly kind?: NodeKind;
  /** where a link leads */
  readonly target?: string;
  /** block of the directory that stands here, but was moved elsewhere */
  readonly child?: number;
  /** whether the record is a directory that was moved here from elsewhere */
  readonly isMoved?: boolean;
  /** whether the content is compressed by zisofs */
  readonly isCompressed?: boolean;
}

const CONTINUATION_BYTES = 28;
const FIELD_HEADER = 4;
const FORMAT = 0o17_0000;
const KINDS: Readonly<Record<number, NodeKind>> = {
  0o04_0000: "directory",
  0o10_0000: "file",
  0o12_0000: "link",
};
/** Flags of names and of parts of links. */
const FLAG = { CONTINUES: 1, CURRENT: 2, PARENT: 4, ROOT: 8 } as const;

interface Field {
  readonly signature: string;
  /** the field, header and all */
  readonly bytes: DataView;
}

/**
 * Reads where a system use area goes on. Whoever gives it bounds how often.
 *
 * @throws {LoaderError} outside the disk, or where there is no end to it
 */
export type ReadContinuation = (
  block: number,
  offset: number,
  length: number,
) => DataView;

function* fieldsOf(bytes: DataView): Generator<Field> {
  for (let at = 0; at + FIELD_HEADER <= bytes.byteLength;) {
    const length = bytes.getUint8(at + 2);
    if (length < FIELD_HEADER || at + length > bytes.byteLength) return;
    const { buffer, byteOffset } = bytes;
    yield {
      signature: textAt(bytes, at, 2),
      bytes: new DataView(buffer, byteOffset + at, length),
    };
    at += length;
  }
}

// The fields of a record and of the areas in which they go on.
function* allFields(
  first: DataView,
  goOn: ReadContinuation,
): Generator<Field> {
  let area: DataView | undefined = first;
  while (area !== undefined) {
    let next: DataView | undefined;
    for (const { signature, bytes } of fieldsOf(area)) {
      if (signature === "ST") break;
      if (signature !== "CE") yield { signature, bytes };
      else if (bytes.byteLength >= CONTINUATION_BYTES) {
        const u32 = (at: number) => bytes.getUint32(at, true);
        next = goOn(u32(4), u32(12), u32(20));
      }
    }
    area = next;
  }
}

const SPECIAL_PARTS: readonly (readonly [flag: number, text: string])[] = [
  [FLAG.CURRENT, "."],
  [FLAG.PARENT, ".."],
  [FLAG.ROOT, ""],
];

/** The parts of a link's target, some of them only begun. */
class LinkTarget {
  readonly #parts: string[] = [];
  #isOpen = false;

  add(bytes: DataView): void {
    for (let at = 5; at + 2 <= bytes.byteLength;) {
      const flags = bytes.getUint8(at);
      const length = bytes.getUint8(at + 1);
      if (at + 2 + length > bytes.byteLength) return;
      const special = SPECIAL_PARTS.find(([flag]) => (flags & flag) !== 0);
      const text = special?.[1] ?? textAt(bytes, at + 2, length);
      if (this.#isOpen) this.#parts.push(`${this.#parts.pop() ?? ""}${text}`);
      else this.#parts.push(text);
      this.#isOpen = (flags & FLAG.CONTINUES) !== 0;
      at += 2 + length;
    }
  }

  get text(): string {
    const isRoot = this.#parts.length === 1 && this.#parts[0] === "";
    return isRoot ? "/" : this.#parts.join("/");
  }
}

/** Notes that are being made about one record. */
interface Draft {
  name?: string;
  kind?: NodeKind;
  child?: number;
  isMoved?: boolean;
  isCompressed?: boolean;
  link?: LinkTarget;
}

interface Reader {
  /** bytes that the field has at least */
  readonly least: number;
  readonly read: (draft: Draft, bytes: DataView) => void;
}

const READERS: Readonly<Record<string, Reader>> = {
  NM: {
    least: 5,
    read(draft, bytes) {
      const isSpecial =
        (bytes.getUint8(4) & (FLAG.CURRENT | FLAG.PARENT)) !== 0;
      if (isSpecial) return;
      const text = textAt(bytes, 5, bytes.byteLength - 5);
      draft.name = `${draft.name ?? ""}${text}`;
    },
  },
  PX: {
    least: 12,
    read(draft, bytes) {
      draft.kind = KINDS[bytes.getUint32(4, true) & FORMAT] ?? "other";
    },
  },
  SL: {
    least: 5,
    read(draft, bytes) {
      draft.link ??= new LinkTarget();
      draft.link.add(bytes);
    },
  },
  CL: {
    least: 12,
    read(draft, bytes) {
      draft.child = bytes.getUint32(4, true);
    },
  },
  RE: { least: 4, read: (draft) => void (draft.isMoved = true) },
  ZF: { least: 4, read: (draft) => void (draft.isCompressed = true) },
};

/**
 * What the system use area of a record says.
 *
 * @param area its bytes, without those that are to be skipped
 * @param goOn reads where it goes on
 * @throws {LoaderError} as `goOn`
 */
export function readRockRidge(
  area: DataView,
  goOn: ReadContinuation,
): RockRidge {
  const draft: Draft = {};
  for (const { signature, bytes } of allFields(area, goOn)) {
    const reader = READERS[signature];
    if (reader !== undefined && bytes.byteLength >= reader.least) {
      reader.read(draft, bytes);
    }
  }
  const { link, ...said } = draft;
  return link === undefined ? said : { ...said, target: link.text };
}

/**
 * How many bytes of each area are to be skipped, undefined where the disk has no
 * Rock Ridge.
 *
 * @param area of the root's own record
 */
export function rockRidgeSkip(area: DataView): number | undefined {
  if (area.byteLength < 7 || textAt(area, 0, 2) !== "SP") return undefined;
  return area.getUint16(4) === 0xbeef ? area.getUint8(6) : undefined;
}
