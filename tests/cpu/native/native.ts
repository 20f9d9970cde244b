// The host CPU as an Executor of test cases: typed records around `runner.c`, which is compiled on
// first use and cached under the hash of its source. Linux on x86-64 with a C compiler only.

/** Linear address of the first byte of the two data pages; what surrounds them is unmapped. */
export const DATA_BASE = 0x10000000;
/** Size of the data pages in bytes. */
export const DATA_SIZE = 0x2000;
/** Size in bytes of the part of the data pages that a case initialises and compares. */
export const DATA_WINDOW = 512;
/** Linear address of the first of the two code pages: readable, executable, not writable. */
export const CODE_BASE = 0x20000000;
/** Size of the code pages in bytes; all that is not the snippet is filled with INT3. */
export const CODE_SIZE = 0x2000;
/** Most bytes a snippet may have. */
export const CODE_MAX = 64;
/** Linear address of the stack page. */
export const STACK_BASE = 0x30000000;
/** Size of the stack page in bytes. */
export const STACK_SIZE = 0x1000;
/** Linear address of the part of the stack page that a case initialises and compares. */
export const STACK_WINDOW_AT = 0x30000700;
/** Size of that part in bytes. */
export const STACK_WINDOW = 256;
/** Size of an FXSAVE image in bytes. */
export const FX_SIZE = 512;
/** Bytes of the FXSAVE image that are state; the reserved rest is neither loaded nor compared. */
export const FX_STATE = 416;
/** The selectors a case starts with: CS by mode, and DS, ES, SS, FS and GS alike. */
export const SELECTORS = { cs64: 0x33, cs32: 0x23, data: 0x2b } as const;

/** An outcome's `vector` when there is no exception to name. */
export const OUTCOME = {
  /** The snippet ran for longer than 20 ms. */
  timeout: -1,
  /** The executor itself died of the case. */
  died: -2,
  /** The snippet ran into a system call, which was not executed. */
  systemCall: -3,
} as const;

/**
 * A snippet and the state it starts with.
 *
 * In 32-bit mode the upper halves of the registers, and R8-R15, are ignored. All segments are flat
 * except FS and GS, which are flat plus `fsBase` and `gsBase` in both modes. Memory outside the
 * windows is zero, code pages outside the snippet are INT3.
 */
export interface CpuCase {
  mode: 64 | 32;
  /** At most 64 bytes; the INT3 that ends it is not part of it. */
  code: Uint8Array;
  /** Linear address of the first instruction, in the code pages. */
  codeBase: number;
  /** In hardware order: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8-R15. */
  gpr: BigUint64Array;
  /** Status flags, DF, AC, NT and ID count; IF is always set, TF never. */
  rflags: bigint;
  fsBase: bigint;
  gsBase: bigint;
  /** FXSAVE64 image; bytes from 416 on are ignored. */
  fx: Uint8Array;
  /** Linear address of the data window, within the data pages. */
  dataBase: number;
  /** 512 bytes. */
  data: Uint8Array;
  /** 256 bytes. */
  stack: Uint8Array;
}

/** What a case left behind. In 32-bit mode upper register halves and R8-R15 read as zero. */
export interface CpuOutcome {
  /** The exception: 3 if the snippet ran to an INT3; negative values see `OUTCOME`. */
  vector: number;
  /** Zero for exceptions without an error code. */
  errorCode: number;
  /** Zero unless the exception is a page fault. */
  cr2: bigint;
  /** As the exception delivers it: past an INT3, at a faulting instruction. */
  rip: bigint;
  gpr: BigUint64Array;
  rflags: bigint;
  fx: Uint8Array;
  data: Uint8Array;
  stack: Uint8Array;
}

/** Anything that can run cases: silicon or software. */
export interface Executor {
  /** Runs the cases, each on its own, and returns the outcomes in their order. */
  run(cases: readonly CpuCase[]): Promise<CpuOutcome[]>;
  /** Ends whatever the executor keeps running. */
  close(): Promise<void>;
}

// struct test_case and struct test_result in runner.c.
const CASE = {
  size: 1520,
  rflags: 128,
  fsBase: 136,
  gsBase: 144,
  mode: 152,
  codeLength: 156,
  codeBase: 160,
  dataBase: 164,
  code: 168,
  fx: 240,
  data: 752,
  stack: 1264,
} as const;
const RESULT = {
  size: 1440,
  rflags: 128,
  rip: 136,
  cr2: 144,
  vector: 152,
  errorCode: 156,
  fx: 160,
  data: 672,
  stack: 1184,
} as const;

/** Cases per message; the runner takes 4,096, a pipe and the caches like fewer. */
const BATCH = 256;

const COMPILER_FLAGS = [
  "-O2",
  "-Wall",
  "-Wextra",
  // The handler runs on the guest's FS base, so the canary would be read through it.
  "-fno-stack-protector",
  "-fcf-protection=none",
  "-mgeneral-regs-only",
];

function checkCase(test: CpuCase): void {
  const bad = (what: string, value: number) => {
    throw new RangeError(
      `Cannot run the case: ${what} is ${value.toString(16)}`,
    );
  };
  const within = (at: number, size: number, base: number, end: number) =>
    at >= base && at + size <= end;
  if (test.code.length > CODE_MAX) bad("code length", test.code.length);
  if (
    !within(test.codeBase, test.code.length, CODE_BASE, CODE_BASE + CODE_SIZE)
  ) {
    bad("codeBase", test.codeBase);
  }
  if (!within(test.dataBase, DATA_WINDOW, DATA_BASE, DATA_BASE + DATA_SIZE)) {
    bad("dataBase", test.dataBase);
  }
}

function encodeCase(
  test: CpuCase,
  into: Uint8Array,
  view: DataView,
  at: number,
): void {
  checkCase(test);
  new BigUint64Array(into.buffer, at, 16).set(test.gpr);
  view.setBigUint64(at + CASE.rflags, test.rflags, true);
  view.setBigUint64(at + CASE.fsBase, test.fsBase, true);
  view.setBigUint64(at + CASE.gsBase, test.gsBase, true);
  view.setUint32(at + CASE.mode, test.mode, true);
  view.setUint32(at + CASE.codeLength, test.code.length, true);
  view.setUint32(at + CASE.codeBase, test.codeBase, true);
  view.setUint32(at + CASE.dataBase, test.dataBase, true);
  into.set(test.code, at + CASE.code);
  into.set(test.fx, at + CASE.fx);
  into.set(test.data, at + CASE.data);
  into.set(test.stack, at + CASE.stack);
}

function decodeOutcome(
  buffer: ArrayBuffer,
  view: DataView,
  at: number,
): CpuOutcome {
  return {
    vector: view.getInt32(at + RESULT.vector, true),
    errorCode: view.getUint32(at + RESULT.errorCode, true),
    cr2: view.getBigUint64(at + RESULT.cr2, true),
    rip: view.getBigUint64(at + RESULT.rip, true),
    gpr: new BigUint64Array(buffer, at, 16),
    rflags: view.getBigUint64(at + RESULT.rflags, true),
    fx: new Uint8Array(buffer, at + RESULT.fx, FX_SIZE),
    data: new Uint8Array(buffer, at + RESULT.data, DATA_WINDOW),
    stack: new Uint8Array(buffer, at + RESULT.stack, STACK_WINDOW),
  };
}

/** The outcome of a case that took the runner down: its vector, and nothing else. */
function deathOutcome(): CpuOutcome {
  const buffer = new ArrayBuffer(RESULT.size);
  const view = new DataView(buffer);
  view.setInt32(RESULT.vector, OUTCOME.died, true);
  return decodeOutcome(buffer, view, 0);
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(text),
  );
  return Array.from(
    new Uint8Array(hash, 0, 8),
    (byte) => byte.toString(16).padStart(2, "0"),
  )
    .join("");
}

function cacheDirectory(): string {
  const home = Deno.env.get("HOME");
  const cache = Deno.env.get("XDG_CACHE_HOME") ??
    (home ? `${home}/.cache` : undefined);
  return cache ? `${cache}/bhyve-deno` : Deno.makeTempDirSync();
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Compiles `runner.c` unless that has been done, and returns the executable's path. */
async function buildRunner(): Promise<string> {
  const source = await Deno.readTextFile(
    new URL("./runner.c", import.meta.url),
  );
  const directory = cacheDirectory();
  const path = `${directory}/cpu-runner-${await digest(
    source + COMPILER_FLAGS.join(),
  )}`;
  if (await exists(path)) return path;
  await Deno.mkdir(directory, { recursive: true });
  // Renamed into place: test processes that build at the same time must not see half a file.
  const partial = `${path}.${Deno.pid}`;
  const compiler = new Deno.Command("cc", {
    args: [...COMPILER_FLAGS, "-x", "c", "-o", partial, "-"],
    stdin: "piped",
    stderr: "piped",
  }).spawn();
  const writer = compiler.stdin.getWriter();
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  const { success, stderr } = await compiler.output();
  if (!success) {
    throw new Error(
      `Cannot compile runner.c: ${new TextDecoder().decode(stderr)}`,
    );
  }
  await Deno.rename(partial, path);
  return path;
}

/** One runner process and its pipes. */
class Runner {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reader: ReadableStreamBYOBReader;

  constructor(path: string) {
    this.#process = new Deno.Command(path, { stdin: "piped", stdout: "piped" })
      .spawn();
    this.#writer = this.#process.stdin.getWriter();
    this.#reader = this.#process.stdout.getReader({ mode: "byob" });
  }

  /** Sends a batch and returns its results, or undefined if the process died of it. */
  async exchange(
    message: Uint8Array<ArrayBuffer>,
    resultSize: number,
  ): Promise<ArrayBuffer | undefined> {
    try {
      await this.#writer.write(message);
    } catch {
      return undefined;
    }
    let buffer = new ArrayBuffer(resultSize);
    for (let filled = 0; filled < resultSize;) {
      const { value, done } = await this.#reader.read(
        new Uint8Array(buffer, filled, resultSize - filled),
      );
      if (done || value === undefined) return undefined;
      buffer = value.buffer;
      filled += value.length;
    }
    return buffer;
  }

  async close(): Promise<void> {
    // A dead runner's pipe refuses to be closed; that it ends is all that is asked here.
    await this.#writer.close().catch(() => {});
    await this.#process.status;
    await this.#reader.cancel();
  }
}

/** Runs cases on the host's own CPU. */
export class NativeExecutor implements Executor {
  readonly #path: string;
  #runner: Runner;

  private constructor(path: string) {
    this.#path = path;
    this.#runner = new Runner(path);
  }

  /** Whether this host can run native cases at all. */
  static isSupported(): boolean {
    return Deno.build.os === "linux" && Deno.build.arch === "x86_64";
  }

  /** Builds the runner if need be and starts it. */
  static async create(): Promise<NativeExecutor> {
    return new NativeExecutor(await buildRunner());
  }

  /** Runs the cases; one that kills the runner has the vector `OUTCOME.died`. */
  async run(cases: readonly CpuCase[]): Promise<CpuOutcome[]> {
    const outcomes: CpuOutcome[] = [];
    for (let at = 0; at < cases.length; at += BATCH) {
      outcomes.push(...await this.#runBatch(cases.slice(at, at + BATCH)));
    }
    return outcomes;
  }

  /** Ends the runner process. */
  async close(): Promise<void> {
    await this.#runner.close();
  }

  async #runBatch(cases: readonly CpuCase[]): Promise<CpuOutcome[]> {
    const results = await this.#exchange(cases);
    if (results) {
      const view = new DataView(results);
      return cases.map((_, index) =>
        decodeOutcome(results, view, index * RESULT.size)
      );
    }
    await this.#runner.close();
    this.#runner = new Runner(this.#path);
    if (cases.length === 1) return [deathOutcome()];
    const outcomes: CpuOutcome[] = [];
    for (const test of cases) outcomes.push(...await this.#runBatch([test]));
    return outcomes;
  }

  #exchange(cases: readonly CpuCase[]): Promise<ArrayBuffer | undefined> {
    // Eight bytes for the count, of which four are sent, keep the registers aligned.
    const message = new Uint8Array(8 + cases.length * CASE.size);
    const view = new DataView(message.buffer);
    view.setUint32(4, cases.length, true);
    cases.forEach((test, index) =>
      encodeCase(test, message, view, 8 + index * CASE.size)
    );
    return this.#runner.exchange(
      message.subarray(4),
      cases.length * RESULT.size,
    );
  }
}
