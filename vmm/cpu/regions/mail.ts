// Mail between a CPU's thread and the thread that compiles for it: one message each
// way at a time, in shared memory. Posting a message to a worker costs the sender a
// millisecond where cores are scarce, and the CPU's thread does not return to its
// event loop to get one.

/** Words of the control block. */
const WORD = {
  ASKED: 0,
  ANSWERED: 1,
  ASKED_LENGTH: 2,
  ANSWER_LENGTH: 3,
  LISTENS: 4,
};
const WORDS = 5;
/** Bytes that a message can have: modules of a batch are about a tenth of it. */
const MOST_BYTES = 4 << 20;
const FAILURE = -1;

/** The words of a bell: one that changes with every ring, one that is 1 at the end. */
export const BELL = { RINGS: 0, ENDED: 1 } as const;
const BELL_WORDS = 2;

/** Makes a bell. */
export function createBell(): SharedArrayBuffer {
  return new SharedArrayBuffer(BELL_WORDS * 4);
}

/** Wakes whoever waits for a bell. */
function ring(words: Int32Array): void {
  Atomics.add(words, BELL.RINGS, 1);
  Atomics.notify(words, BELL.RINGS);
}

/** Tells whoever waits for a bell that there will be nothing more. */
export function ringTheEnd(bell: SharedArrayBuffer): void {
  const words = new Int32Array(bell);
  Atomics.store(words, BELL.ENDED, 1);
  ring(words);
}

/** The shared memory of both sides. */
export interface MailMemory {
  readonly control: SharedArrayBuffer;
  readonly question: SharedArrayBuffer;
  readonly answer: SharedArrayBuffer;
  /** what wakes the side that answers, which several pairs may share: see `BELL` */
  readonly bell: SharedArrayBuffer;
}

/** Makes the memory of a pair. */
export function mailMemory(bell: SharedArrayBuffer): MailMemory {
  return {
    bell,
    control: new SharedArrayBuffer(WORDS * 4),
    question: new SharedArrayBuffer(MOST_BYTES),
    answer: new SharedArrayBuffer(MOST_BYTES),
  };
}

/** The side that asks. */
export class Asker {
  readonly #control: Int32Array;
  readonly #question: Uint8Array;
  readonly #answer: Uint8Array;
  readonly #bell: Int32Array;

  constructor({ control, question, answer, bell }: MailMemory) {
    this.#bell = new Int32Array(bell);
    this.#control = new Int32Array(control);
    this.#question = new Uint8Array(question);
    this.#answer = new Uint8Array(answer);
  }

  /** Asks; answers false where the question is too long. */
  ask(question: Uint8Array): boolean {
    if (question.length > this.#question.length) return false;
    this.#question.set(question);
    this.#control[WORD.ASKED_LENGTH] = question.length;
    Atomics.store(this.#control, WORD.ASKED, 1);
    ring(this.#bell);
    return true;
  }

  /** Whether there is somebody who answers. */
  get isHeard(): boolean {
    return Atomics.load(this.#control, WORD.LISTENS) !== 0;
  }

  /** Whether the answer is there. */
  get isAnswered(): boolean {
    return Atomics.load(this.#control, WORD.ANSWERED) !== 0;
  }

  /** Takes the answer; undefined: there is none to this question. */
  take(): Uint8Array<ArrayBuffer> | undefined {
    const length = this.#control[WORD.ANSWER_LENGTH]!;
    const answer = new Uint8Array(Math.max(length, 0));
    answer.set(this.#answer.subarray(0, answer.length));
    Atomics.store(this.#control, WORD.ANSWERED, 0);
    return length === FAILURE ? undefined : answer;
  }
}

/** The side that answers. */
export class Answerer {
  readonly #control: Int32Array;
  readonly #question: Uint8Array;
  readonly #answer: Uint8Array;

  constructor({ control, question, answer }: MailMemory) {
    this.#control = new Int32Array(control);
    this.#question = new Uint8Array(question);
    this.#answer = new Uint8Array(answer);
    Atomics.store(this.#control, WORD.LISTENS, 1);
  }

  /** Takes the question, if there is one. */
  next(): Uint8Array | undefined {
    if (Atomics.load(this.#control, WORD.ASKED) === 0) return undefined;
    Atomics.store(this.#control, WORD.ASKED, 0);
    return this.#question.slice(0, this.#control[WORD.ASKED_LENGTH]);
  }

  /** Answers; undefined, or what is too long: there is no answer. */
  answer(answer: Uint8Array | undefined): void {
    const fits = answer !== undefined && answer.length <= this.#answer.length;
    if (fits) this.#answer.set(answer);
    this.#control[WORD.ANSWER_LENGTH] = fits ? answer.length : FAILURE;
    Atomics.store(this.#control, WORD.ANSWERED, 1);
  }
}
