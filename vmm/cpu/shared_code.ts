// Which threads hold code decoded from a page of guest memory, and what they must hear
// of it: each virtual CPU decodes for itself in a thread of its own, over one memory
// (Intel SDM vol. 3, 9.1.3 "Handling Self- and Cross-Modifying Code").
//
// A word for each page says who holds code of it. Before code of a page is decoded,
// everyone else stops writing to it on the fast path: those that run say so at the end
// of their block, those that do not run hear of it before they run again. Then the page
// is settled, and the next that decodes from it need not ask. A write to such a page
// unsettles it and is posted to the holders, which then drop all that they hold of it,
// so that what they decode next begins with that agreement again. A page that is being
// decoded is dropped after the block that comes of it has run: so a thread gets on
// however often others write.

const PAGE = 4096;
const WASM_PAGE = 65536;
/** Most threads: each has one bit of a page's words. */
export const MAX_CODE_THREADS = 16;
// Two words a page: the holders with how it stands, and who must drop it.
const PAGE_WORDS = 2;
const DROPS = 1;
/** Bytes of a page's words; the holders are in the low half of the first. */
export const CODE_PAGE_STRIDE = 4 * PAGE_WORDS;
/** The holders in a page's first word: a bit for each thread. */
export const HOLDERS = 0xffff;
/** There, too: whoever holds no code of it asks before it writes. */
export const SETTLED = 1 << 16;
/** Writes are counted above, so that none is missed while a page is being settled. */
export const WRITE = 1 << 17;
/** Messages that can wait for a thread; a power of two. */
const RING = 256;

// Words of a thread's mail, each group on lines of its own.
const TAIL = 0;
const MISSED = 1;
/** How much of it was taken; the first word: how much was posted. */
export const MAIL_HEAD = 16;
const MISSED_DONE = 17;
const DRAINED = 18;
const WAITERS = 19;
const SLOTS = 32;
const MAIL_WORDS = SLOTS + RING;

// A message is a page and what to do; 0 is an empty slot.
const PROTECT = 1;
const DROP = 2;
const KIND_BITS = 2;

/** Pages of which one thread remembers what it posted of them to another; a power of two. */
const TOLD = 64;

/** How often a drain is looked for before the thread sleeps for it. */
const SPINS = 200;
/** Longest sleep for a drain, lest one is missed. */
const SLEEP_MS = 2;

/** What the threads of a machine share about code; survives structured cloning. */
export interface SharedCodeBuffers {
  /** the common memory, with words for each page of guest memory */
  readonly pages: WebAssembly.Memory;
  /** mail for each thread */
  readonly mail: SharedArrayBuffer;
}

/** Where the words of pages begin in the memory that they lie in. */
export const CODE_PAGES = 64;
/** There, too: the last time stamp that any processor gave, i64. */
export const LATEST_TIME = 0;
/** There, too: 1 while the bus is locked, i32. See `runtime/bus.ts`. */
export const BUS_LOCK = 8;

/** Pages of 64 KiB of a common memory for so much guest memory. */
export function commonMemorySize(memoryBytes: number): number {
  const words = Math.ceil(memoryBytes / PAGE);
  return Math.ceil((CODE_PAGES + words * CODE_PAGE_STRIDE) / WASM_PAGE);
}

/**
 * Makes memory 2 of a machine's processors: what they share besides a guest memory of
 * so many bytes.
 */
export function createCommonMemory(memoryBytes: number): WebAssembly.Memory {
  const size = commonMemorySize(memoryBytes);
  return new WebAssembly.Memory({ initial: size, maximum: size, shared: true });
}

/** Makes what the threads of a machine share about code. */
export function createSharedCode(pages: WebAssembly.Memory): SharedCodeBuffers {
  const mail = new SharedArrayBuffer(4 * MAIL_WORDS * MAX_CODE_THREADS);
  return { pages, mail };
}

/** The other threads as the one that posts to them sees them. */
export interface CodePeers {
  /** how many threads there are, this one with them */
  readonly count: number;
  /** Whether a thread executes guest code, or is about to without a drain. */
  isRunning(thread: number): boolean;
  /** Makes a thread drain its mail soon. */
  kick(thread: number): void;
  /** Calls `wait` while this thread counts as not running. */
  whileParked(wait: () => void): void;
}

/** Nobody: for a machine with one thread. */
export const NO_PEERS: CodePeers = {
  count: 1,
  isRunning: () => false,
  kick: () => {},
  whileParked: (wait) => wait(),
};

/** What a thread does with its mail. */
export interface CodeReceiver {
  /** Makes its next write to a page ask first. */
  protectPage(page: number): void;
  /** Drops all code of a page. */
  dropPage(page: number): void;
  /** Makes its next write to any page ask first. */
  protectAll(): void;
}

/** One thread's view. */
export class SharedCode {
  readonly #pages: Int32Array;
  readonly #mail: Int32Array;
  readonly #thread: number;
  readonly #own: number;
  readonly #peers: CodePeers;
  #receiver: CodeReceiver | undefined;
  // Pages, and the place of the last message of each, for each other thread.
  readonly #told = new Int32Array(2 * TOLD * MAX_CODE_THREADS).fill(-1);
  // Pages that are being decoded, one or two, and those to be dropped when that is done.
  readonly #decoding: number[] = [];
  readonly #written: number[] = [];

  /**
   * @param thread number of the thread that this is for, or -1 for one that only
   *   posts, such as that of a debugger
   */
  constructor(buffers: SharedCodeBuffers, thread: number, peers: CodePeers) {
    this.#pages = new Int32Array(buffers.pages.buffer, CODE_PAGES);
    this.#mail = new Int32Array(buffers.mail);
    this.#thread = thread;
    this.#own = thread < 0 ? 0 : 1 << thread;
    this.#peers = peers;
  }

  /** Says who acts on the mail: called once, before the thread runs. */
  connect(receiver: CodeReceiver): void {
    this.#receiver = receiver;
  }

  /** This thread's bit among the holders of a page; 0 for one that only posts. */
  get holder(): number {
    return this.#own;
  }

  /** Whether any thread holds code of a page. */
  isCode(page: number): boolean {
    return (Atomics.load(this.#pages, page * PAGE_WORDS) & HOLDERS) !== 0;
  }

  // --- Holding -------------------------------------------------------------

  /**
   * Makes this thread a holder of a page before it decodes, until it calls `decoded`: from
   * then on every write to the page by another thread is posted here.
   *
   * @returns whether it was none before
   */
  claim(page: number): boolean {
    const at = page * PAGE_WORDS;
    if (!this.#decoding.includes(page)) this.#decoding.push(page);
    const before = Atomics.or(this.#pages, at, this.#own);
    if ((before & this.#own) !== 0) return false;
    if ((before & SETTLED) === 0) this.#settle(page);
    return true;
  }

  /**
   * This thread has decoded what it claimed pages for. What was written to them meanwhile
   * it may have seen in part: it drops them as soon as what it decoded has run once.
   */
  decoded(): void {
    this.#decoding.length = 0;
    if (this.#written.length === 0) return;
    for (const page of this.#written.splice(0)) {
      this.#post(this.#thread, page << KIND_BITS | DROP);
      this.#peers.kick(this.#thread);
    }
  }

  // Stops every other thread from writing to a page on the fast path.
  #settle(page: number): void {
    const at = page * PAGE_WORDS;
    const before = Atomics.load(this.#pages, at);
    const message = page << KIND_BITS | PROTECT;
    for (let n = 0; n < this.#peers.count; n++) {
      if (n !== this.#thread) this.#post(n, message);
    }
    const running = this.#running();
    if (running.length > 0) {
      this.#peers.whileParked(() => {
        for (const n of running) this.#awaitDrain(n);
      });
    }
    Atomics.compareExchange(this.#pages, at, before, before | SETTLED);
    // What came meanwhile counts before anything is decoded or executed.
    if (running.length > 0) this.drain();
  }

  /** This thread holds no code of a page any more. */
  release(page: number): void {
    const at = page * PAGE_WORDS;
    Atomics.and(this.#pages, at + DROPS, ~this.#own);
    for (;;) {
      const old = Atomics.load(this.#pages, at);
      const kept = old & ~this.#own;
      const next = (kept & HOLDERS) === 0 ? kept & ~SETTLED : kept;
      if (Atomics.compareExchange(this.#pages, at, old, next) === old) return;
    }
  }

  #running(): number[] {
    const running: number[] = [];
    for (let n = 0; n < this.#peers.count; n++) {
      if (n !== this.#thread && this.#peers.isRunning(n)) running.push(n);
    }
    return running;
  }

  // Waits until a thread drained what is posted now, or stopped running.
  #awaitDrain(thread: number): void {
    const mail = this.#mail;
    const at = thread * MAIL_WORDS;
    const tail = Atomics.load(mail, at + TAIL);
    const missed = Atomics.load(mail, at + MISSED);
    const isDone = () =>
      !this.#peers.isRunning(thread) ||
      ((Atomics.load(mail, at + MAIL_HEAD) - tail | 0) >= 0 &&
        (Atomics.load(mail, at + MISSED_DONE) - missed | 0) >= 0);
    this.#peers.kick(thread);
    for (let n = 0; n < SPINS; n++) if (isDone()) return;
    Atomics.add(mail, at + WAITERS, 1);
    for (;;) {
      const seen = Atomics.load(mail, at + DRAINED);
      if (isDone()) break;
      Atomics.wait(mail, at + DRAINED, seen, SLEEP_MS);
    }
    Atomics.sub(mail, at + WAITERS, 1);
  }

  // --- Writing -------------------------------------------------------------

  /**
   * Posts a write to a page that may hold code. The writer may be about to make it,
   * where it is a thread that runs: nobody decodes the page until its block is done.
   */
  wrote(page: number): void {
    const others = this.#unsettle(page) & HOLDERS & ~this.#own;
    if (others === 0) return;
    Atomics.or(this.#pages, page * PAGE_WORDS + DROPS, others);
    for (let n = 0; others >>> n !== 0; n++) {
      if ((others >>> n & 1) !== 0) this.#tellOnce(n, page);
    }
  }

  // Where what this thread posted of the page still waits, that is enough. What another
  // writer is about to post is not: it may come after this write is known of.
  #tellOnce(thread: number, page: number): void {
    const told = this.#told;
    const slot = 2 * (thread * TOLD + (page & TOLD - 1));
    if (told[slot] === page && this.#isWaiting(thread, told[slot + 1]!)) return;
    const place = this.#post(thread, page << KIND_BITS | DROP);
    if (place !== undefined) told.set([page, place], slot);
    if (this.#peers.isRunning(thread)) this.#peers.kick(thread);
  }

  // Whether the message at a place is still to be acted on.
  #isWaiting(thread: number, place: number): boolean {
    const at = thread * MAIL_WORDS;
    const head = Atomics.load(this.#mail, at + MAIL_HEAD);
    const tail = Atomics.load(this.#mail, at + TAIL);
    return (head - place | 0) <= 0 && (place - tail | 0) < 0;
  }

  /** Posts a write of bytes, by offset in guest memory. */
  wroteBytes(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / PAGE);
    for (let page = Math.floor(offset / PAGE); page <= last; page++) {
      this.wrote(page);
    }
  }

  // The first access is one that writes, too: a load alone may be made before what was
  // written before it.
  #unsettle(page: number): number {
    const at = page * PAGE_WORDS;
    let old = Atomics.or(this.#pages, at, 0);
    while ((old & HOLDERS) !== 0) {
      const next = (old & ~SETTLED) + WRITE | 0;
      const found = Atomics.compareExchange(this.#pages, at, old, next);
      if (found === old) break;
      old = found;
    }
    return old;
  }

  // --- Mail ----------------------------------------------------------------

  // The place of a message in the mail; undefined where there is no room.
  #post(thread: number, message: number): number | undefined {
    const mail = this.#mail;
    const at = thread * MAIL_WORDS;
    for (;;) {
      const tail = Atomics.load(mail, at + TAIL);
      if ((tail - Atomics.load(mail, at + MAIL_HEAD) | 0) >= RING) {
        Atomics.add(mail, at + MISSED, 1);
        return undefined;
      }
      if (Atomics.compareExchange(mail, at + TAIL, tail, tail + 1) !== tail) {
        continue;
      }
      Atomics.store(mail, at + SLOTS + (tail & RING - 1), message);
      return tail;
    }
  }

  /**
   * Acts on the mail: between blocks, and before the thread runs again.
   *
   * @returns whether there was any
   */
  drain(): boolean {
    const mail = this.#mail;
    const at = this.#thread * MAIL_WORDS;
    const tail = Atomics.load(mail, at + TAIL);
    const missed = Atomics.load(mail, at + MISSED);
    const head = Atomics.load(mail, at + MAIL_HEAD);
    const isLate = missed !== Atomics.load(mail, at + MISSED_DONE);
    if (head === tail && !isLate) return false;
    for (let n = head; n !== tail; n = n + 1 | 0) {
      this.#take(at + SLOTS + (n & RING - 1));
      Atomics.store(mail, at + MAIL_HEAD, n + 1 | 0);
    }
    if (isLate) {
      this.#catchUp();
      Atomics.store(mail, at + MISSED_DONE, missed);
    }
    Atomics.add(mail, at + DRAINED, 1);
    if (Atomics.load(mail, at + WAITERS) > 0) {
      Atomics.notify(mail, at + DRAINED);
    }
    return true;
  }

  #take(slot: number): void {
    const mail = this.#mail;
    let message = 0;
    // Its poster has taken the slot and is about to fill it.
    while (message === 0) message = Atomics.exchange(mail, slot, 0);
    const page = message >>> KIND_BITS;
    if ((message & PROTECT) !== 0) this.#receiver?.protectPage(page);
    else this.#drop(page);
  }

  #drop(page: number): void {
    if (this.#decoding.includes(page)) {
      if (!this.#written.includes(page)) this.#written.push(page);
      return;
    }
    this.release(page);
    this.#receiver?.dropPage(page);
  }

  // More came than the ring holds: the pages themselves say what to drop.
  #catchUp(): void {
    this.#receiver?.protectAll();
    const pages = this.#pages;
    for (let at = DROPS; at < pages.length; at += PAGE_WORDS) {
      if ((pages[at]! & this.#own) !== 0) this.#drop(at >> 1);
    }
  }
}
