// The litmus tests: what two vCPUs do in a round, by 32-bit code, and which outcomes the
// memory order of x86 forbids (Intel SDM vol. 3, 9.2 and 9.1.3; AMD APM vol. 2, 7.2).

/** Words of memory, each in a cache line of its own. */
export const AT = {
  X: 0x10_0000,
  Y: 0x10_0080,
  /** what the second vCPU read */
  RESULT: 0x10_0100,
  /** a word that lies in two cache lines */
  SPLIT: 0x10_01be,
  /** a word that is not aligned, in one cache line */
  CROOKED: 0x10_0201,
  LOCK: 0x10_0280,
  /** MOV EAX, imm32; RET: the immediate is aligned */
  FUNCTION: 0xb003,
} as const;

/** One test. Code is in hexadecimal; EBX is a number that each round has for itself. */
export interface Litmus {
  readonly name: string;
  /** the first vCPU, before the second is let go */
  readonly prepare: string;
  /** the second vCPU, before it says that it is ready */
  readonly settle?: string;
  /** the first vCPU: leaves what it read in EAX */
  readonly first: string;
  /** the second vCPU: leaves what it read in `AT.RESULT` */
  readonly second: string;
  /** the first vCPU after both: makes the outcome's number of EAX */
  readonly classify: string;
  /** what the outcomes are called, by number */
  readonly outcomes: readonly string[];
  /** outcomes that must not be */
  readonly forbidden: readonly string[];
}

/** A 32-bit value as code has it. */
export function le32(value: number): string {
  return [0, 8, 16, 24]
    .map((shift) => (value >>> shift & 0xff).toString(16).padStart(2, "0"))
    .join("");
}

const set = (at: number, value: number) => `c705${le32(at)}${le32(value)}`;
const load = (at: number) => `a1${le32(at)}`;
const loadDx = (at: number) => `8b15${le32(at)}`;
const keep = `a3${le32(AT.RESULT)}`;
const CLEAR = set(AT.X, 0) + set(AT.Y, 0);
/** EAX += 2 * the second's. */
const BOTH = `8b0d${le32(AT.RESULT)}8d0448`;
/** EAX = EAX + 2 * EDX. */
const PAIR = "8d0450";
/** EAX = the second's. */
const SECOND = load(AT.RESULT);
const MFENCE = "0faef0";
/** LOCK OR DWORD [ESP], 0. */
const LOCKED = "f0830c2400";
/** MOV EAX, 1; XCHG [at], EAX. */
const exchange = (at: number) => `b8010000008705${le32(at)}`;
const READS = ["0 0", "1 0", "0 1", "1 1"];
/** EAX = whether [at] is not the value. */
const differs = (at: number, value: number) =>
  `31c0813d${le32(at)}${le32(value)}0f95c0`;
/** MOV EAX, EBX; CPUID, with the registers kept that rounds need. */
const SERIALIZE = "89df31c00fa289fb";
/** MOV EAX, FUNCTION; CALL EAX. */
const CALL = `b8${le32(AT.FUNCTION)}ffd0`;
/** MOV [FUNCTION's immediate], EBX. */
const PATCH = `891d${le32(AT.FUNCTION + 1)}`;

function storeBuffering(name: string, fence: string): Litmus {
  return {
    name: `store buffering${name}`,
    prepare: CLEAR,
    first: set(AT.X, 1) + fence + load(AT.Y),
    second: set(AT.Y, 1) + fence + load(AT.X) + keep,
    classify: BOTH,
    outcomes: READS,
    forbidden: fence === "" ? [] : ["0 0"],
  };
}

function locked(name: string, at: number, code: string): Litmus {
  return {
    name,
    prepare: set(at, 0),
    first: code,
    second: code + keep,
    classify: differs(at, 2),
    outcomes: ["2", "lost"],
    forbidden: ["lost"],
  };
}

function torn(name: string, at: number): Litmus {
  return {
    name,
    prepare: set(at, 0),
    first: set(at, -1),
    second: load(at) + keep,
    // add eax, 1: -1 becomes 0, 0 becomes 1, a mixture neither
    classify: `${SECOND}83c001`,
    outcomes: ["new", "old"],
    forbidden: ["other"],
  };
}

/** Every test. */
export const LITMUS: readonly Litmus[] = [
  storeBuffering("", ""),
  storeBuffering(" with MFENCE", MFENCE),
  storeBuffering(" with a locked OR", LOCKED),
  {
    ...storeBuffering(" with XCHG", MFENCE),
    first: exchange(AT.X) + load(AT.Y),
    second: exchange(AT.Y) + load(AT.X) + keep,
  },
  {
    name: "message passing",
    prepare: CLEAR,
    first: set(AT.X, 1) + set(AT.Y, 1),
    second: load(AT.Y) + loadDx(AT.X) + PAIR + keep,
    classify: SECOND,
    outcomes: READS,
    forbidden: ["1 0"],
  },
  {
    name: "load buffering",
    prepare: CLEAR,
    first: load(AT.X) + set(AT.Y, 1),
    second: load(AT.Y) + set(AT.X, 1) + keep,
    classify: BOTH,
    outcomes: READS,
    forbidden: ["1 1"],
  },
  {
    name: "two writes each",
    prepare: CLEAR,
    first: set(AT.X, 1) + set(AT.Y, 2),
    second: set(AT.Y, 1) + set(AT.X, 2),
    // X - 1 + 2 * (Y - 1)
    classify: load(AT.X) + loadDx(AT.Y) + PAIR + "83e803",
    outcomes: ["1 1", "2 1", "1 2", "2 2"],
    forbidden: ["1 1"],
  },
  {
    name: "two reads of one word",
    prepare: CLEAR,
    first: set(AT.X, 1),
    second: load(AT.X) + loadDx(AT.X) + PAIR + keep,
    classify: SECOND,
    outcomes: READS,
    forbidden: ["1 0"],
  },
  {
    name: "one's own store",
    prepare: CLEAR,
    first: set(AT.X, 1) + load(AT.X) + loadDx(AT.Y) + PAIR,
    second: set(AT.Y, 1) + load(AT.Y) + loadDx(AT.X) + PAIR + keep,
    // Each saw its own store: bit 0 of both is set.
    classify: `8b0d${le32(AT.RESULT)}21c883e001`,
    outcomes: ["not seen", "seen"],
    forbidden: ["not seen"],
  },
  torn("a word", AT.X),
  torn("a word that is not aligned", AT.CROOKED),
  locked("locked increments", AT.X, `f0ff05${le32(AT.X)}`),
  locked("locked increments across lines", AT.SPLIT, `f0ff05${le32(AT.SPLIT)}`),
  locked(
    "compare and exchange",
    AT.X,
    // 1: mov eax, [X]; lea edx, [eax + 1]; lock cmpxchg [X], edx; jne 1b
    `${load(AT.X)}8d5001f00fb115${le32(AT.X)}75ee`,
  ),
  locked(
    "a lock by XCHG",
    AT.X,
    // 1: pause; take the lock; test eax, eax; jne 1b; inc [X]; free the lock
    `f390${exchange(AT.LOCK)}85c075ef ff05${le32(AT.X)}${set(AT.LOCK, 0)}`,
  ),
  {
    name: "code that the other changed, after CPUID",
    prepare: CLEAR,
    first: PATCH + set(AT.Y, 1),
    // 1: pause; cmp [Y], 1; jne 1b
    second: `f390833d${le32(AT.Y)}0175f5${SERIALIZE}${CALL}${keep}`,
    classify: `31c0391d${le32(AT.RESULT)}0f95c0`,
    outcomes: ["new", "old"],
    forbidden: ["old"],
  },
  {
    name: "code that the other is changing",
    prepare: set(AT.FUNCTION + 1, 0),
    // Called once, so that it is decoded by then.
    settle: SERIALIZE + CALL,
    first: PATCH,
    second: CALL + keep,
    // 0: new; 1: old; 2: neither
    classify: `31c0391d${le32(AT.RESULT)}740f 40 833d${
      le32(AT.RESULT)
    }007405 b802000000`,
    outcomes: ["new", "old"],
    forbidden: ["other"],
  },
];
