// Whatever a guest's code is, its regions make valid modules, of bounded size and with
// bounded work. Random code in every mode is compiled when it is first executed, by a
// compiler that looks at each module. REGION_CASES=100000 runs longer than the default,
// REGION_SEED names another sequence.

import { assert, assertEquals } from "@std/assert";
import { createStateMemory } from "../state.ts";
import { REC_HANDLER } from "../record.ts";
import { REGISTER } from "../registers.ts";
import { RECORD_STRIDE } from "../state.ts";
import * as steps from "../steps.ts";
import {
  CR4,
  type ModeName,
  PageTables,
  type PagingName,
  PTE,
  randomCode,
  randomSource,
  TestMachine,
} from "../testing.ts";
import type { WantedHandler } from "../handlers.ts";
import { Customer } from "./customer.ts";
import {
  DEFAULT_REGIONS,
  FORCED_REGIONS,
  type RegionOptions,
} from "./limits.ts";
import { mailMemory } from "./mail.ts";
import { type BatchPlan, emitBatch } from "./plan.ts";

const CASES = Number(Deno.env.get("REGION_CASES") ?? 200);
const SEED = Number(Deno.env.get("REGION_SEED") ?? 1);

/** Code lies in several pages, since regions follow branches to others. */
const CODE = 0x4000;
const CODE_SIZE = 0x3000;
const STACK = 0x8000;
const MEMORY = 1 << 20;
const TABLES = 0x2_0000;
const STARTS = 12;
const SLICES = 8;
/** A run is exact by single steps at its end, which are never compiled. */
const SLICE = 2000;

/** Instructions in a region, at most: its first block may have more than its share. */
const MOST_INSTRUCTIONS = DEFAULT_REGIONS.instructions + 64;
/** What an instruction may come to: the largest is a vector one with all its checks. */
const MOST_BYTES = 1200 * MOST_INSTRUCTIONS;
/** Looks at handlers: each is work that follows from one record. */
const MOST_LOOKS = 40 * MOST_INSTRUCTIONS;

const MODES: readonly (readonly [ModeName, PagingName])[] = [
  ["real", "none"],
  ["vm86", "legacy"],
  ["protected16", "none"],
  ["protected32", "none"],
  ["protected32", "pae"],
  ["compat", "long"],
  ["long", "long"],
];

type Random = () => number;

class Dropped extends Error {}

/** Looks at what it compiles. */
class Examiner extends Customer {
  modules = 0;
  /** nodes of the largest region */
  most = 0;
  #looks = 0;

  override handlerAt(index: number): WantedHandler | undefined {
    this.#looks++;
    return super.handlerAt(index);
  }

  protected override compile(batch: BatchPlan): Uint8Array<ArrayBuffer> {
    const nodes = batch.regions.flatMap((region) => region.nodes);
    if (nodes.some(([start]) => this.#isDropped(start))) throw new Dropped();
    this.#looks = 0;
    const bytes = emitBatch(this, batch);
    assertEquals(batch.regions.length, 1);
    this.modules++;
    this.most = Math.max(this.most, nodes.length);
    assert(WebAssembly.validate(bytes), "A module is not valid");
    assert(bytes.length <= MOST_BYTES, `${bytes.length} bytes`);
    assert(this.#looks <= MOST_LOOKS, `${this.#looks} looks`);
    return bytes;
  }

  // Whether code changed since its region was asked for: by itself, in the same slice.
  #isDropped(start: number): boolean {
    for (let at = start;; at += RECORD_STRIDE) {
      const index = this.state.getUint32(at + REC_HANDLER, true);
      const definition = this.handlerAt(index)?.definition;
      if (definition === steps.STALE || definition === steps.FORWARD) {
        return true;
      }
      if (definition === undefined || definition.ends) return false;
    }
  }

  protected override failed(error: unknown): undefined {
    if (!(error instanceof Dropped)) throw error;
  }
}

/** Branches of a byte's distance, so that there are loops and joins. */
const BRANCHES = [0xeb, 0xe0, 0xe2, 0xe3, 0x70, 0x72, 0x74, 0x75, 0x78, 0x7c];

/** Opcodes for registers alone, each with a ModR/M byte behind it. */
const TAME = [[0x01], [0x03], [0x09], [0x11], [0x19], [0x21], [0x29], [0x31]]
  .concat([[0x39], [0x85], [0x89], [0x8b], [0x87], [0xd1], [0xd3], [0xff]])
  .concat([[0x0f, 0xaf], [0x0f, 0x92], [0x0f, 0x44], [0x0f, 0xc1]])
  .concat([[0x0f, 0xa3], [0x0f, 0xa5], [0x0f, 0xbc], [0x0f, 0x58]])
  .concat([[0x66, 0x0f, 0xfe], [0x66, 0x0f, 0xef], [0xf2, 0x0f, 0x59]]);

// Code that does not fault, so that it goes far.
function tameCode(random: Random): Uint8Array {
  const bytes: number[] = [];
  while (bytes.length < CODE_SIZE) {
    const pick = random();
    if ((pick & 3) === 0) bytes.push((pick & 4) === 0 ? 0x66 : 0x48);
    const opcode = TAME[(pick >>> 3) % TAME.length]!;
    // INC and DEC alone of their group.
    const reg = opcode[0] === 0xff ? pick >>> 16 & 1 : pick >>> 16 & 7;
    bytes.push(...opcode, 0xc0 | reg << 3 | pick >>> 24 & 7);
  }
  return Uint8Array.from(bytes.slice(0, CODE_SIZE));
}

function branchyCode(random: Random): Uint8Array {
  const code = (random() & 1) === 0
    ? randomCode(CODE_SIZE, random)
    : tameCode(random);
  const view = new DataView(code.buffer);
  for (let at = 0; at + 8 < code.length; at += 4 + random() % 24) {
    if ((random() & 3) !== 0) {
      code[at] = BRANCHES[random() % BRANCHES.length]!;
      code[at + 1] = random() & 0x3f ^ (random() & 1 ? 0xc0 : 0);
    } else {
      // CALL or JMP, near; RET
      code[at] = [0xe8, 0xe9, 0xc3][random() % 3]!;
      view.setInt32(at + 1, (random() & 0x3ff) - 512, true);
    }
  }
  return code;
}

/** One mode's machine, for case after case. */
class Fuzz {
  readonly #machine: TestMachine;
  readonly #random: Random;
  readonly #mode: ModeName;
  readonly #paging: PagingName;
  readonly examiner: Examiner;

  constructor(
    [mode, paging]: readonly [ModeName, PagingName],
    compile: RegionOptions,
    random: Random,
  ) {
    this.#random = random;
    this.#mode = mode;
    this.#paging = paging;
    const state = createStateMemory();
    const mail = mailMemory(new SharedArrayBuffer(4));
    const buffer = state.buffer as SharedArrayBuffer;
    this.examiner = new Examiner({ state: buffer, mail });
    this.#machine = new TestMachine({
      ...{ size: MEMORY, state, compile, compiler: mail },
    });
  }

  #enter(): void {
    const { memory, cpu } = this.#machine;
    memory.bytes.set(branchyCode(this.#random), CODE);
    memory.dropCode(0, MEMORY);
    const tables = this.#paging === "none" ? undefined : this.#tables();
    this.#machine.enter(this.#mode, {
      cr4: CR4.OSFXSR | CR4.OSXMMEXCPT,
      ...tables === undefined ? {} : { tables },
    });
    if ((this.#random() & 1) === 0) return;
    // Segments that are not flat: checks and bases are part of the code.
    for (const name of ["DS", "SS", "ES"] as const) {
      const { access } = cpu.getDescriptor(REGISTER[name]);
      const base = BigInt(this.#random() & 0xfff0);
      cpu.setDescriptor(REGISTER[name], { base, limit: 0x7_ffff, access });
    }
  }

  #tables(): PageTables {
    const kind = this.#paging as Exclude<PagingName, "none">;
    const tables = new PageTables(this.#machine, kind, TABLES);
    const flags = PTE.P | PTE.RW | PTE.US;
    for (let at = 0; at < 0x2_0000; at += 4096) tables.map(at, at, flags);
    return tables;
  }

  #scatter(): void {
    const names = ["RAX", "RCX", "RDX", "RBX", "RBP", "RSI", "RDI"] as const;
    for (const name of names) {
      this.#machine.set({ [name]: this.#random() % 0x1_0000 });
    }
    const rip = CODE + this.#random() % (CODE_SIZE - 64);
    this.#machine.set({ RIP: rip, RSP: STACK + 0x4000 });
  }

  /** Compiles what one piece of code executes. */
  run(): void {
    this.#enter();
    for (let start = 0; start < STARTS; start++) {
      this.#scatter();
      // Each slice may post a region, which is there for the next.
      for (let n = 0; n < SLICES; n++) {
        this.#machine.run(SLICE);
        this.examiner.serve();
      }
    }
  }
}

/** At the first execution, and when the blocks around are known. */
const CHOICES: readonly (readonly [string, RegionOptions])[] = [
  ["at once", FORCED_REGIONS],
  ["later", { ...FORCED_REGIONS, threshold: 4 }],
  ["in place", { ...FORCED_REGIONS, threshold: 4, inPlace: true }],
];

for (const mode of MODES) {
  for (const [when, options] of CHOICES) {
    const name = `random code in ${mode[0]} mode, ${mode[1]} paging`;
    Deno.test(`modules are valid: ${name}, compiled ${when}`, () => {
      const fuzz = new Fuzz(mode, options, randomSource(SEED * 2654435761));
      const cases = Math.ceil(CASES / MODES.length / CHOICES.length);
      for (let n = 0; n < cases; n++) fuzz.run();
      const { modules, most } = fuzz.examiner;
      assert(modules > cases, `${modules} modules in ${cases} cases`);
      if (when !== "at once") assert(most > 1, `${most} blocks in a region`);
    });
  }
}
