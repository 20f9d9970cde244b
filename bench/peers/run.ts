// One run of a guest: its console's lines with the host's time since the peer was
// started, and what the peer used of the host meanwhile.

import { spawn } from "node:child_process";
import process from "node:process";
import { GUEST_DOWN } from "./lines.ts";
import type { Launch } from "./peer.ts";
import { treeOf, type Usage, usageOf } from "./usage.ts";

/** One line of the console. */
export interface Arrival {
  /** seconds since the start */
  readonly at: number;
  readonly text: string;
  /** what the peer had used by then */
  readonly usage: Usage;
}

/** What came of a run. */
export interface Run {
  /** lines that figures are made of: GUEST-UP and later */
  readonly arrivals: readonly Arrival[];
  /** why it did not come to its end, where it did not */
  readonly failure?: string;
}

const INTERESTING = /^(GUEST-|bench |start |failed )/;
const NOTHING: Usage = { peak: 0, cpu: 0 };
/** Milliseconds for a peer to end by itself. */
const GRACE_MS = 3000;
/** Characters of what a peer says that are kept for the report of a failure. */
const KEPT = 2000;

type Child = ReturnType<typeof spawn>;

function signal(pids: readonly number[], name: "SIGTERM" | "SIGKILL"): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch {
      // It has ended already.
    }
  }
}

/** Ends a program and all that it started. */
async function end(child: Child, closed: Promise<unknown>): Promise<void> {
  const pids = child.pid === undefined ? [] : treeOf(child.pid);
  signal(pids, "SIGTERM");
  const timer = setTimeout(() => signal(pids, "SIGKILL"), GRACE_MS);
  await closed;
  clearTimeout(timer);
  signal(pids, "SIGKILL");
}

/** Collects a guest's lines. */
class Console {
  readonly arrivals: Arrival[] = [];
  readonly #child: Child;
  readonly #start: number;
  #line = "";
  /** the end of all that was said, for reports */
  tail = "";

  constructor(child: Child, start: number) {
    this.#child = child;
    this.#start = start;
  }

  /** Takes text; answers whether the guest has said that it goes down. */
  take(text: string): boolean {
    this.tail = (this.tail + text).slice(-KEPT);
    const at = (performance.now() - this.#start) / 1000;
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop()!;
    for (const line of lines) this.#add(at, line.trimEnd());
    return this.arrivals.at(-1)?.text === GUEST_DOWN;
  }

  #add(at: number, text: string): void {
    if (!INTERESTING.test(text)) return;
    const { pid } = this.#child;
    const usage = pid === undefined ? NOTHING : usageOf(pid);
    this.arrivals.push({ at, text, usage });
  }
}

function sleep(milliseconds: number) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), milliseconds);
  });
  return { over, stop: () => clearTimeout(timer) };
}

/**
 * Starts a peer and follows its guest's console until it goes down.
 *
 * @param seconds how long it may take
 */
export async function follow(launch: Launch, seconds: number): Promise<Run> {
  const start = performance.now();
  const child = spawn(launch.command, [...launch.args], {
    env: { ...Deno.env.toObject(), ...launch.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const console = new Console(child, start);
  const down = Promise.withResolvers<"down">();
  const closed = new Promise<string>((resolve) => {
    child.on("close", (status) => resolve(`ended with status ${status}`));
    child.on("error", (error) => resolve(`did not start: ${error.message}`));
  });
  child.stdout!.setEncoding("latin1");
  child.stdout!.on("data", (text: string) => {
    if (console.take(text)) down.resolve("down");
  });
  child.stderr!.setEncoding("utf8");
  child.stderr!.on("data", (text: string) => {
    console.tail = (console.tail + text).slice(-KEPT);
  });
  const limit = sleep(seconds * 1000);
  const how = await Promise.race([down.promise, closed, limit.over]);
  limit.stop();
  if (how === "down") {
    const grace = sleep(GRACE_MS);
    await Promise.race([closed, grace.over]);
    grace.stop();
  }
  await end(child, closed);
  const { arrivals, tail } = console;
  if (arrivals.at(-1)?.text === GUEST_DOWN) return { arrivals };
  const why = how === "late" ? `took more than ${seconds} seconds` : how;
  return { arrivals, failure: `${why}; it said last:\n${tail}` };
}
