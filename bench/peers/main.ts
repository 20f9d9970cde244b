// `deno task bench peers`: one guest and its work on us and on the other ways to run it
// without the host's help, in turn, and the tables for `bench/README.md`. What is not
// there is fetched into the cache of `tests/guests/`; a peer that cannot be had, or does
// not come to its end, is reported and has no figures.

import { type Figures, figuresOf, mediansOf } from "./figures.ts";
import { benchGuestDir, type Bits } from "./guest.ts";
import { wordOf } from "./lines.ts";
import { parsePeersOptions, type PeersOptions, USAGE } from "./options.ts";
import type { Peer } from "./peer.ts";
import { follow, type Run } from "./run.ts";
import { digits, tableLines } from "./table.ts";

function say(text: string): void {
  console.error(text);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function measure(
  { bits, launch }: Peer,
  { lines, limit }: PeersOptions,
): Promise<Run> {
  const directory = await benchGuestDir(bits, say);
  const scratch = await Deno.makeTempDir({ prefix: "bhyve-bench-" });
  try {
    const files = {
      kernel: `${directory}/vmlinuz`,
      initrd: `${directory}/initrd.img`,
      words: wordOf(lines),
    };
    return await follow(await launch(files, scratch, say), limit);
  } catch (error) {
    return { arrivals: [], failure: reasonOf(error) };
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

function report(name: string, run: Run, figures: Figures): void {
  const parts = [...figures].map(([row, value]) => `${row} ${digits(value)}`);
  say(`${name}: ${parts.join(", ") || "no figures"}`);
  for (const { text } of run.arrivals) {
    if (text.startsWith("failed ")) say(`${name}: the guest says: ${text}`);
  }
  if (run.failure !== undefined) say(`${name}: ${run.failure}`);
}

async function measureAll(options: PeersOptions) {
  const found = new Map<Peer, Figures[]>();
  const unfit = new Set<Peer>();
  for (let n = 1; n <= options.runs; n++) {
    for (const peer of options.peers) {
      // What failed without a figure would do so again.
      if (unfit.has(peer) || peer.once && n > 1) continue;
      const name = `${peer.name}, run ${n}`;
      say(`${name} ...`);
      const run = await measure(peer, options);
      const figures = figuresOf(run);
      report(name, run, figures);
      if (figures.size === 0) unfit.add(peer);
      else found.set(peer, [...found.get(peer) ?? [], figures]);
    }
  }
  return found;
}

function print(bits: Bits, found: ReadonlyMap<Peer, readonly Figures[]>): void {
  const columns = [...found].filter(([peer]) => peer.bits === bits)
    .map(([{ name }, runs]) => ({ name, figures: mediansOf(runs) }));
  if (columns.length === 0) return;
  const isOurs = ({ name }: { name: string }) => name.startsWith("bhyve");
  const others = columns.filter((column) => !isOurs(column));
  const title = `${bits}-bit guest, seconds`;
  console.log("");
  for (const line of tableLines(title, columns.find(isOurs), others)) {
    console.log(line);
  }
}

function optionsOf(args: readonly string[]): PeersOptions {
  try {
    return parsePeersOptions(args);
  } catch (error) {
    console.error(`${reasonOf(error)}\n${USAGE}`);
    Deno.exit(2);
  }
}

/** Measures and prints. */
export async function benchPeers(args: readonly string[]): Promise<void> {
  const options = optionsOf(args);
  const found = await measureAll(options);
  for (const bits of [64, 32] as const) print(bits, found);
  const isWhole = options.peers.every((peer) => found.has(peer));
  if (!isWhole) Deno.exitCode = 1;
}
