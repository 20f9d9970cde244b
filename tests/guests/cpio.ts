// An initramfs: a cpio archive in the "newc" format (Linux,
// Documentation/driver-api/early-userspace/buffer-format), compressed by gzip.

/** A file of the archive. */
export type CpioEntry =
  | { readonly path: string; readonly kind: "directory" }
  | { readonly path: string; readonly kind: "link"; readonly to: string }
  | {
    readonly path: string;
    readonly kind: "file";
    readonly data: Uint8Array;
    readonly mode?: number;
  }
  | {
    readonly path: string;
    readonly kind: "device";
    readonly major: number;
    readonly minor: number;
  };

const TYPE = {
  directory: 0o040755,
  link: 0o120777,
  file: 0o100000,
  device: 0o020600,
} as const;
const TRAILER = "TRAILER!!!";

function contents(entry: CpioEntry): Uint8Array {
  if (entry.kind === "file") return entry.data;
  if (entry.kind === "link") return new TextEncoder().encode(entry.to);
  return new Uint8Array();
}

function header(
  fields: {
    ino: number;
    mode: number;
    size: number;
    name: string;
    rdev?: readonly [number, number];
  },
): string {
  const [major, minor] = fields.rdev ?? [0, 0];
  const values = [fields.ino, fields.mode, 0, 0, 1, 0, fields.size, 0, 0];
  const rest = [major, minor, fields.name.length + 1, 0];
  return "070701" +
    [...values, ...rest].map((v) => v.toString(16).padStart(8, "0")).join("");
}

function pad(length: number): Uint8Array {
  return new Uint8Array((4 - length % 4) % 4);
}

/** The archive of some files, not compressed. */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const add = (head: string, name: string, data: Uint8Array) => {
    const start = new TextEncoder().encode(`${head}${name}\0`);
    parts.push(start, pad(start.length), data, pad(data.length));
  };
  entries.forEach((entry, n) => {
    const data = contents(entry);
    const mode = entry.kind === "file"
      ? TYPE.file | (entry.mode ?? 0o755)
      : TYPE[entry.kind];
    const rdev = entry.kind === "device"
      ? { rdev: [entry.major, entry.minor] as const }
      : {};
    const size = data.length;
    add(
      header({ ino: n + 1, mode, size, name: entry.path, ...rdev }),
      entry.path,
      data,
    );
  });
  add(header({ ino: 0, mode: 0, size: 0, name: TRAILER }), TRAILER, pad(0));
  return concatenate(parts);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Bytes compressed by gzip. */
export async function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
