// Two real threads agree on the time.

import { assert } from "@std/assert";
import { askClock, createClockSync } from "./clock_sync.ts";

const NS_PER_MS = 1e6;
const AHEAD_NS = 1e15;
/** How well the system's clock tells when each thread began. */
const ORIGIN_ERROR_NS = 50e6;

Deno.test("askClock() finds the other thread's time", async () => {
  const worker = new Worker(new URL("./_clock_worker.ts", import.meta.url), {
    type: "module",
  });
  const answer = new Promise<number>((resolve) => {
    worker.onmessage = (event) => resolve(event.data);
  });
  const buffer = createClockSync();
  worker.postMessage(buffer);
  const { offset, error } = askClock(
    buffer,
    () => performance.now() * NS_PER_MS,
  );
  const origin = await answer;
  worker.terminate();
  const expected = (performance.timeOrigin - origin) * NS_PER_MS + AHEAD_NS;
  assert(Math.abs(offset - expected) < ORIGIN_ERROR_NS, `${offset}`);
  // Scheduling may keep the two apart for long, but bounds are bounds.
  assert(error >= 0 && error < 1e9, `${error}`);
});
