// Random programs that access the window and change what it is mapped to. They are the
// kernel's, or the user's with a kernel that an interrupt enters.

import { CR0, CR4, TestMachine } from "../../../vmm/cpu/testing.ts";
import type { Prng } from "../fuzz/prng.ts";
import { AccessMaker } from "./accesses.ts";
import { ChangeMaker } from "./changes.ts";
import {
  type Bytes,
  flipAc,
  functions,
  handler,
  HARMLESS,
  iret,
  le,
  mov,
  Part,
} from "./code.ts";
import { DATA, FRAMES, type Kind, LAYOUT, MOST_SPACES } from "./layout.ts";
import { type Entries, makeSpace, type Space, windowPages } from "./spaces.ts";

/** Where a program's memory is its own, from and to. */
export const USED = [
  [LAYOUT.FAULTS, LAYOUT.USER_STACK],
  [LAYOUT.KERNEL_CODE, LAYOUT.END_OF_CODE],
  [LAYOUT.TABLES, LAYOUT.TABLES + MOST_SPACES * LAYOUT.TABLES_OF_SPACE],
  [LAYOUT.FRAMES, LAYOUT.FRAMES + (FRAMES + 1) * 4096],
] as const;

/** The interrupt that enters the kernel. */
export const VECTOR_OF_KERNEL = 0x80;

/** A program. */
export interface Program {
  readonly kind: Kind;
  readonly isUser: boolean;
  /** the address space that it begins in, in the maker's memory */
  readonly space: Space;
  /** how often it does all that it does */
  readonly rounds: number;
  /** what `USED` holds */
  readonly images: readonly Uint8Array[];
  /** bits of CR0 and CR4 besides those that its mode needs */
  readonly cr0: number;
  readonly cr4: number;
}

/** Makes programs. */
export class ProgramMaker {
  readonly #kind: Kind;
  readonly #machine = new TestMachine();
  #random!: Prng;

  constructor(kind: Kind) {
    this.#kind = kind;
  }

  /** @param isUser whether it is the user's */
  make(random: Prng, isUser: boolean): Program {
    this.#random = random;
    const { bytes } = this.#machine.memory;
    const kind = this.#kind;
    for (const [from, to] of USED) bytes.fill(0, from, to);
    for (let frame = 0; frame <= FRAMES; frame++) this.#fillFrame(frame);
    const [hasGlobal, isRestGlobal] = [random.chance(40), random.chance(50)];
    const entries = { kind, isUser, hasGlobal, isRestGlobal };
    const spaces = this.#makeSpaces(entries);
    this.#writeCode(entries, spaces);
    return {
      ...{ kind, isUser, space: spaces[0]! },
      rounds: random.between(4, 16),
      images: USED.map(([from, to]) => bytes.slice(from, to)),
      cr0: random.chance(70) ? CR0.WP : 0,
      cr4: CR4.OSFXSR | CR4.PGE | (kind.hasPcids ? CR4.PCIDE : 0) |
        (kind.tables === "legacy" ? CR4.PSE : 0) |
        (random.chance(40) ? CR4.SMAP : 0),
    };
  }

  #put(at: number, code: Bytes): void {
    this.#machine.memory.bytes.set(code, at);
  }

  #fillFrame(frame: number): void {
    const at = LAYOUT.FRAMES + frame * 4096;
    this.#machine.memory.bytes.fill(HARMLESS[0], at, at + 4096);
    for (let n: number = DATA.FIRST; n < DATA.LAST; n += 4) {
      this.#put(at + n, le(Math.imul(at + n, 0x9e37_79b1), 4));
    }
    for (const [from, code] of functions(frame)) this.#put(at + from, code);
  }

  // What is global is the same in all address spaces: here there is one of it.
  #makeSpaces(entries: Entries): Space[] {
    const most = this.#kind.hasPcids ? MOST_SPACES : 3;
    const count = entries.hasGlobal ? 1 : this.#random.between(1, most);
    return Array.from(
      { length: count },
      (_, n) => makeSpace(this.#machine, this.#random, entries, n),
    );
  }

  #writeCode(entries: Entries, spaces: readonly Space[]): void {
    const isWide = this.#kind.mode === "long";
    const accesses = new AccessMaker(
      this.#random,
      windowPages(this.#kind),
      isWide,
    );
    const changes = new ChangeMaker(this.#random, entries, spaces, accesses);
    const parts = new Parts(entries.isUser, isWide);
    for (let n = this.#random.between(15, 50); n > 0; n--) {
      const change = this.#random.below(100);
      if (change < 3) parts.body.put(flipAc(isWide));
      else if (change < 45) parts.asKernel((kernel) => changes.add(kernel));
      else parts.body.guarded(accesses.make(entries.isUser));
    }
    parts.asKernel((kernel) => changes.goBack(kernel));
    for (const [at, code] of parts.finish()) this.#put(at, code);
    this.#put(
      LAYOUT.DESCRIPTORS,
      changes.descriptors.flatMap((quad) => le(quad, 8)),
    );
  }
}

/** The parts of a program: all in one, or the user's and the kernel's. */
class Parts {
  readonly body: Part;
  readonly #kernel: Part | undefined;
  readonly #isWide: boolean;

  constructor(isUser: boolean, isWide: boolean) {
    const { USER_CODE, USER_STACK, KERNEL_CODE, KERNEL_STACK } = LAYOUT;
    const frame = isWide ? 5 * 8 : 5 * 4;
    this.#isWide = isWide;
    this.body = isUser
      ? new Part(USER_CODE, USER_STACK)
      : new Part(KERNEL_CODE, KERNEL_STACK);
    if (isUser) this.#kernel = new Part(KERNEL_CODE, KERNEL_STACK - frame);
  }

  /** Adds what the kernel does: the user has it do so by an interrupt. */
  asKernel(add: (part: Part) => void): void {
    const kernel = this.#kernel;
    if (kernel === undefined) return add(this.body);
    // MOV EAX, its address; INT
    this.body.put(mov("eax")(kernel.at), [0xcd, VECTOR_OF_KERNEL]);
    add(kernel);
    kernel.put(iret(this.#isWide));
  }

  /** All of the code, and where it lies. */
  finish(): (readonly [number, Bytes])[] {
    const { body } = this;
    // DEC EBP; JNZ to the beginning; INT3
    body.put([0xff, 0xcd, 0x0f, 0x85, ...le(body.base - body.at - 8, 4)]);
    body.put([0xcc]);
    const kernel = this.#kernel;
    return [
      [body.base, body.bytes],
      ...kernel === undefined ? [] : [[kernel.base, kernel.bytes] as const],
      [LAYOUT.HANDLER, handler(this.#isWide)],
      // PUSH 0
      [LAYOUT.HANDLER_OF_UD, [0x6a, 0]],
      // JMP EAX
      [LAYOUT.SERVICE, [0xff, 0xe0]],
    ];
  }
}
