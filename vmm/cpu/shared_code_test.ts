// What threads tell each other of code, seen from one thread that plays all of them;
// `bhyve/threads_test.ts` does the same with real ones.

import { assert, assertEquals } from "@std/assert";
import {
  CODE_PAGE_STRIDE,
  CODE_PAGES,
  createCommonMemory,
  createSharedCode,
  MAIL_HEAD,
  MAX_CODE_THREADS,
  SharedCode,
} from "./shared_code.ts";

const PAGES = 600;

/** Threads that run or not as a test says, and what each was told. */
class Threads {
  readonly running = new Set<number>();
  readonly log: string[] = [];
  readonly codes: readonly SharedCode[];

  readonly buffers = createSharedCode(createCommonMemory(PAGES * 4096));

  constructor(count: number) {
    const { buffers } = this;
    this.codes = Array.from({ length: count }, (_, thread) => {
      const code = new SharedCode(buffers, thread, {
        count,
        isRunning: (n) => this.running.has(n),
        // Whoever runs is at the end of its block at once.
        kick: (n) => {
          this.log.push(`kick ${n}`);
          this.codes[n]!.drain();
        },
        whileParked: (wait) => {
          this.log.push(`${thread} parks`);
          wait();
        },
      });
      code.connect({
        protectPage: (page) => this.log.push(`${thread} protects ${page}`),
        dropPage: (page) => this.log.push(`${thread} drops ${page}`),
        protectAll: () => this.log.push(`${thread} protects all`),
      });
      return code;
    });
  }

  /** A thread decodes code of a page. */
  decode(thread: number, page: number): void {
    const code = this.codes[thread]!;
    code.claim(page);
    code.decoded();
  }

  takeLog(): string[] {
    return this.log.splice(0);
  }
}

Deno.test("claim() waits for those that run, and the others hear of it before they do", () => {
  const threads = new Threads(3);
  const [, second, third] = threads.codes;
  threads.running.add(1);
  threads.decode(0, 7);
  assertEquals(threads.takeLog(), ["0 parks", "kick 1", "1 protects 7"]);
  third!.drain();
  assertEquals(threads.takeLog(), ["2 protects 7"]);
  assert(second!.isCode(7));
  assertEquals(second!.isCode(8), false);
});

Deno.test("claim() of a settled page asks nobody", () => {
  const threads = new Threads(3);
  threads.running.add(0).add(1).add(2);
  threads.decode(0, 7);
  threads.takeLog();
  threads.decode(1, 7);
  threads.decode(0, 7);
  assertEquals(threads.takeLog(), []);
});

Deno.test("claim() of a page that was written asks everyone again", () => {
  const threads = new Threads(2);
  const [first, second] = threads.codes;
  threads.decode(0, 7);
  second!.drain();
  threads.takeLog();
  // The writer holds no code of it, but is in its block still.
  first!.wrote(7);
  threads.running.add(0);
  threads.decode(1, 7);
  assertEquals(threads.takeLog(), ["1 parks", "kick 0", "0 protects 7"]);
});

Deno.test("wrote() makes every other holder drop the page, once", () => {
  const threads = new Threads(3);
  const [first, second, third] = threads.codes;
  threads.decode(1, 7);
  threads.decode(2, 7);
  for (const code of threads.codes) code.drain();
  threads.takeLog();
  for (let n = 0; n < 1000; n++) first!.wrote(7);
  assertEquals(threads.takeLog(), []);
  assertEquals(second!.drain(), true);
  assertEquals(second!.drain(), false);
  third!.drain();
  assertEquals(threads.takeLog(), ["1 drops 7", "2 drops 7"]);
  assertEquals(first!.isCode(7), false);
});

Deno.test("wrote() does not count on what another writer has yet to post", () => {
  const threads = new Threads(3);
  const [first, second] = threads.codes;
  threads.decode(1, 7);
  first!.drain();
  threads.takeLog();
  // The third has said in the page's second word who must drop it, and no more.
  const words = new Int32Array(threads.buffers.pages.buffer, CODE_PAGES);
  words[7 * CODE_PAGE_STRIDE / 4 + 1] = second!.holder;
  threads.running.add(1);
  first!.wrote(7);
  assertEquals(threads.takeLog(), ["kick 1", "1 drops 7"]);
});

Deno.test("wrote() tells again of a page that was dropped and decoded anew", () => {
  const threads = new Threads(2);
  const [first, second] = threads.codes;
  for (let n = 0; n < 3; n++) {
    for (const page of [0, 7, 7 + 64]) threads.decode(1, page);
    first!.drain();
    threads.takeLog();
    for (const page of [0, 7, 7 + 64, 7, 0]) first!.wrote(page);
    second!.drain();
    assertEquals(new Set(threads.takeLog()).size, 3);
    assertEquals([0, 7, 7 + 64].some((page) => first!.isCode(page)), false);
  }
});

Deno.test("wrote() does not make the writer itself drop", () => {
  const threads = new Threads(2);
  threads.decode(0, 7);
  threads.codes[1]!.drain();
  threads.takeLog();
  threads.codes[0]!.wrote(7);
  assertEquals(threads.codes[0]!.drain(), false);
  assertEquals(threads.takeLog(), []);
  assert(threads.codes[0]!.isCode(7));
});

Deno.test("a page that is written while it is decoded is dropped after that", () => {
  const threads = new Threads(2);
  const [first, second] = threads.codes;
  assert(second!.claim(7));
  assertEquals(second!.claim(7), false);
  first!.drain();
  threads.takeLog();
  first!.wrote(7);
  second!.drain();
  assert(second!.claim(8));
  assertEquals(threads.takeLog(), []);
  assert(second!.isCode(7));
  second!.decoded();
  assertEquals(threads.takeLog(), ["kick 1", "1 drops 7"]);
  assertEquals([first!.isCode(7), first!.isCode(8)], [false, true]);
});

Deno.test("release() lets a page be written again", () => {
  const threads = new Threads(2);
  threads.decode(0, 7);
  threads.decode(1, 7);
  threads.codes[0]!.release(7);
  assert(threads.codes[0]!.isCode(7));
  threads.codes[1]!.release(7);
  assertEquals(threads.codes[0]!.isCode(7), false);
});

// @param count messages that were posted to each thread already
function missMessages(count: number): void {
  const threads = new Threads(2);
  const [first, second] = threads.codes;
  const mail = new Int32Array(threads.buffers.mail);
  const words = mail.length / MAX_CODE_THREADS;
  for (const at of [0, MAIL_HEAD, words, words + MAIL_HEAD]) mail[at] = count;
  for (let page = 0; page < PAGES; page++) threads.decode(1, page);
  first!.drain();
  threads.takeLog();
  // More than the ring holds.
  for (let page = 0; page < PAGES; page += 2) first!.wrote(page);
  second!.drain();
  const log = threads.takeLog();
  const dropped = log.filter((line) => line.startsWith("1 drops"));
  assertEquals(new Set(dropped).size, PAGES / 2);
  assert(log.includes("1 protects all"));
  for (let page = 0; page < PAGES; page++) {
    assertEquals(second!.isCode(page), page % 2 === 1);
  }
}

Deno.test("a thread that missed messages drops exactly the pages that were written", () => {
  missMessages(0);
});

Deno.test("messages may be so many that their number begins again", () => {
  for (const left of [1, 100, 255, 256, 300]) missMessages(2 ** 31 - left);
  missMessages(-100);
});

Deno.test("wroteBytes() tells of every page that bytes lie in", () => {
  const threads = new Threads(2);
  for (const page of [2, 3, 4, 5]) threads.decode(1, page);
  threads.codes[0]!.drain();
  threads.takeLog();
  threads.codes[0]!.wroteBytes(3 * 4096 - 1, 4096 + 2);
  threads.codes[1]!.drain();
  assertEquals(threads.takeLog(), ["1 drops 2", "1 drops 3", "1 drops 4"]);
});
