// The command line of `deno task bench peers`.

import { bochs } from "./bochs.ts";
import { LINES } from "./lines.ts";
import { ours } from "./ours.ts";
import type { Peer } from "./peer.ts";
import { qemu } from "./qemu.ts";
import { v86 } from "./v86.ts";

/** Every peer, in the order of the table's columns. */
export const PEERS: readonly Peer[] = [
  ...[ours(64), qemu(64), bochs(64)],
  ...[ours(32), qemu(32), bochs(32), v86()],
];

/** What is to be measured. */
export interface PeersOptions {
  readonly peers: readonly Peer[];
  readonly lines: readonly string[];
  /** how often each peer runs */
  readonly runs: number;
  /** seconds that a run may take */
  readonly limit: number;
}

/** How it is used. */
export const USAGE = `usage: deno task bench peers [OPTION]...
  --peers NAME,NAME   of ${PEERS.map(({ name }) => name).join(", ")}; all
  --lines NAME,NAME   of ${LINES.join(", ")}; all
  --runs N            runs of each peer but Bochs, of which medians are
                      printed; 3
  --limit SECONDS     for each run; 1500`;

function listed<T>(
  text: string | undefined,
  all: readonly T[],
  nameOf: (one: T) => string,
): T[] {
  if (text === undefined) return [...all];
  const names = text.split(",");
  const unknown = names.find((name) => !all.some((x) => nameOf(x) === name));
  if (unknown !== undefined) throw new RangeError(`What is ${unknown}?`);
  return all.filter((one) => names.includes(nameOf(one)));
}

function count(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new RangeError(`${text} is no count`);
  return Number(text);
}

/** @throws {RangeError} for a command line that is not understood */
export function parsePeersOptions(args: readonly string[]): PeersOptions {
  const given = new Map<string, string>();
  for (let n = 0; n < args.length; n += 2) {
    const [name, value] = [args[n]!, args[n + 1]];
    if (!/^--(peers|lines|runs|limit)$/.test(name) || value === undefined) {
      throw new RangeError(`${name} is not understood`);
    }
    given.set(name, value);
  }
  return {
    peers: listed(given.get("--peers"), PEERS, ({ name }) => name),
    lines: listed(given.get("--lines"), LINES, (name) => name),
    runs: count(given.get("--runs"), 3),
    limit: count(given.get("--limit"), 1500),
  };
}
