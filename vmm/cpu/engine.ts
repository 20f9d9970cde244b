// The engine of one virtual CPU: its memory 0, the instances of emitted code, the
// functions that emitted code calls, and the loop between blocks. It knows nothing
// of exits' meanings: `cpu.ts` does.

import { type Block, BlockCache, type CodeSource } from "./block_cache.ts";
import { IMPORT_MODULE } from "./cpu_module.ts";
import { pairKey } from "./fused_pairs.ts";
import type { Definition } from "./form.ts";
import type { CodeKeeper, GuestMemory } from "./guest_memory.ts";
import type { Code } from "./iced/enumerations.ts";
import {
  getRuntimeModule,
  getRuntimeTable,
  handlerKey,
  LateHandlers,
  type WantedHandler,
} from "./handlers.ts";
import { codeSize, MODE } from "./mode.ts";
import {
  HANDLER_TYPE,
  REC_HANDLER,
  REC_OPERAND,
  RECORD_STRIDE,
} from "./record.ts";
import { RegionCompiler } from "./regions/compiler.ts";
import type { MailMemory } from "./regions/mail.ts";
import type { RegionOptions } from "./regions/limits.ts";
import {
  type RegionObserver,
  RegionTier,
  type TierHost,
} from "./regions/tier.ts";
import { PLAIN, type Shape, shapeNumber } from "./shape.ts";
import * as steps from "./steps.ts";
import type { HostName } from "./runtime/host.ts";
import type { RuntimeName } from "./runtime/signatures.ts";
import { STATUS } from "./runtime/traps.ts";
import {
  BLOCK_INDEX,
  BUDGET,
  CODE_DROPPED,
  CODE_HOLDER,
  createStateMemory,
  CS,
  INDEX_BITS,
  INDEX_MULTIPLIER,
  JUMP_BITS,
  JUMP_CACHE,
  JUMP_ENTRY_KEY,
  JUMP_GRAIN,
  JUMP_KEY,
  JUMP_MASK,
  JUMP_RECORD,
  JUMP_STRIDE,
  MAP,
  MAP_COUNT,
  MAP_STRIDE,
  MODE_KEY,
  RIP,
  RIP_BASE,
  SCRATCH,
  SEG_BASE,
  SEG_LIMIT,
  TIME_UNKNOWN,
  TIME_UNTIL,
  TLB,
  TLB_ARRAY,
  TLB_MISMATCH,
  TLB_MODES,
  TLB_SPACES,
  TRAP_DATA,
  TRAP_ERROR,
  TRAP_VECTOR,
} from "./state.ts";
import { createTag, FunctionTable } from "./wasm/mod.ts";

/** The functions that the emitted runtime calls, but those of the engine itself. */
export type HostCallbacks = Readonly<
  Record<
    Exclude<HostName, "codeWrite">,
    (...args: number[]) => number | void
  >
>;

/** What an engine is made of. */
export interface EngineOptions {
  /** guest memory */
  readonly memory: GuestMemory;
  /** functions for the runtime */
  readonly host: HostCallbacks;
  /** whether the processor has an instruction */
  readonly supports: (code: Code) => boolean;
  /** what is compiled; nothing where the options are not there */
  readonly regions?: RegionOptions | undefined;
  /** mail to the thread that compiles; without it, this one does */
  readonly compiler?: MailMemory | undefined;
  /** is told of compiled code */
  readonly observer?: RegionObserver | undefined;
  /** how iced-x86 is to decode: by vendor and features, see `cpuid.ts` */
  readonly decoderOptions: number;
  /** memory 0 that other threads know; the default is one of its own */
  readonly state?: WebAssembly.Memory;
}

type RuntimeExports = Readonly<Record<RuntimeName, (...a: never[]) => number>>;

const FIRST_FREE_HANDLER = 1 << 12;
const NOT_RAM_LOW = 0xffffffff;

/** What `advance` stopped for, besides `STATUS`: code that lies in device memory. */
export const FETCH_FROM_DEVICE = 100;

/** One virtual CPU's engine. */
export class Engine implements CodeSource, CodeKeeper, TierHost {
  /** Memory 0. */
  readonly state: DataView;
  /** Memory 0 as 32-bit words. */
  readonly words: Int32Array;
  /** Memory 0 as 64-bit words. */
  readonly quads: BigInt64Array;
  /** The runtime functions. */
  readonly runtime: RuntimeExports;
  /** Decoded code. */
  readonly cache: BlockCache;
  /** Compiled code, where it is wanted. */
  readonly regions: RegionTier | undefined;
  /** How often emitted code did not find the block to go on at. */
  lookups = 0;
  /** Blocks that were hot. */
  hot = 0;
  /** How often all decoded code was forgotten. */
  emptied = 0;
  readonly decoderOptions: number;
  readonly #options: EngineOptions;
  readonly #table = new FunctionTable(HANDLER_TYPE, FIRST_FREE_HANDLER);
  readonly #imports: WebAssembly.ModuleImports;
  readonly #handlers: Map<string, number>;
  readonly #fused: ReadonlyMap<number, number>;
  readonly #compiler: RegionCompiler | undefined;
  readonly #byDefinition = new Map<Definition, Map<number, number>>();
  readonly #byIndex: (WantedHandler | undefined)[] = [];
  readonly #byRecord = new Map<number, Block>();
  // Where dropped blocks were, by their first record: they lead to new ones.
  readonly #origins = new Map<number, Block>();
  readonly #late = new LateHandlers();
  #nextHandler = FIRST_FREE_HANDLER;
  #mapVersion = -1;
  #bytes: Uint8Array;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#bytes = options.memory.bytes;
    this.decoderOptions = options.decoderOptions;
    const stateMemory = options.state ?? createStateMemory();
    this.state = new DataView(stateMemory.buffer);
    this.words = new Int32Array(stateMemory.buffer);
    this.quads = new BigInt64Array(stateMemory.buffer);
    const { handlers, fused } = getRuntimeTable();
    this.#fused = fused;
    this.#handlers = new Map(handlers);
    this.#imports = {
      state: stateMemory,
      ram: options.memory.memory,
      common: options.memory.common,
      table: this.#table.table,
      trap: createTag(["i32"]) as unknown as WebAssembly.ImportValue,
      ...this.#hostFunctions(),
    };
    const instance = this.#instantiate(getRuntimeModule());
    this.runtime = instance.exports as unknown as RuntimeExports;
    Object.assign(this.#imports, instance.exports);
    if (options.regions !== undefined) {
      if (options.compiler !== undefined) {
        this.#compiler = new RegionCompiler(options.compiler);
      }
      this.regions = new RegionTier(
        this,
        options.regions,
        this.#compiler,
        options.observer,
      );
    }
    this.cache = new BlockCache(this);
    this.#resetTlb();
    this.#clearIndex();
    options.memory.addKeeper(this);
  }

  /** Lets go of guest memory: the engine is not used any more. */
  close(): void {
    this.#options.memory.removeKeeper(this);
  }

  #instantiate(module: WebAssembly.Module): WebAssembly.Instance {
    return new WebAssembly.Instance(module, { [IMPORT_MODULE]: this.#imports });
  }

  #hostFunctions(): WebAssembly.ModuleImports {
    return {
      ...this.#options.host,
      codeWrite: (page: number, offset: number, length: number) =>
        this.#options.memory.dropCode(page * 4096 + offset, length),
    };
  }

  // Entries of page 0 would match an empty tag.
  #resetTlb(): void {
    for (let n = 0; n < TLB_SPACES * TLB_MODES; n++) {
      for (let tag = 0; tag < 24; tag += 8) {
        this.state.setBigInt64(
          TLB + n * TLB_ARRAY + tag,
          BigInt(TLB_MISMATCH),
          true,
        );
      }
    }
  }

  // --- CodeSource ----------------------------------------------------------

  get memory(): Uint8Array {
    return this.#bytes;
  }

  supports(code: Code): boolean {
    return this.#options.supports(code);
  }

  handler(definition: Definition, shape: Shape): number {
    let byShape = this.#byDefinition.get(definition);
    if (byShape === undefined) {
      byShape = new Map();
      this.#byDefinition.set(definition, byShape);
    }
    const number = shapeNumber(shape);
    let index = byShape.get(number);
    if (index === undefined) {
      index = this.#handlerNamed(definition, shape);
      byShape.set(number, index);
      if (this.#byIndex[index] === undefined) {
        this.#made(index, { definition, shape });
      }
    }
    return index;
  }

  fused(first: number, second: number): number | undefined {
    const key = pairKey(first, second);
    const index = key === undefined ? undefined : this.#fused.get(key);
    // Whoever reads records sees the first of the two.
    if (index !== undefined && this.#byIndex[index] === undefined) {
      this.#made(index, this.#byIndex[first]!);
    }
    return index;
  }

  #made(index: number, made: WantedHandler): void {
    this.#byIndex[index] = made;
    this.#compiler?.learn(index, made);
  }

  #handlerNamed(definition: Definition, shape: Shape): number {
    const key = handlerKey(definition, shape);
    const known = this.#handlers.get(key);
    if (known !== undefined) return known;
    const index = this.#nextHandler++;
    this.#handlers.set(key, index);
    this.#late.add(index, { definition, shape });
    return index;
  }

  // Builds the handlers that decoding asked for.
  #flushHandlers(): void {
    const module = this.#late.build();
    if (module === undefined) return;
    this.newHandlers(0);
    this.#instantiate(module);
  }

  // --- TierHost ------------------------------------------------------------

  handlerAt(index: number): WantedHandler | undefined {
    return this.#byIndex[index];
  }

  locate(pages: number): number | undefined {
    const base = this.quads[RIP_BASE >> 3]! + BigInt(pages) * 4096n;
    const is64 = codeSize(this.words[MODE_KEY >> 2]!) === 64;
    this.quads[SCRATCH >> 3] = is64 ? base : BigInt.asUintN(32, base);
    this.#call("probeFetch");
    const offset = this.quads[SCRATCH >> 3]!;
    return offset < 0n ? undefined : Number(offset);
  }

  install(module: WebAssembly.Module): void {
    this.#instantiate(module);
  }

  newHandlers(count: number): number {
    const first = this.#nextHandler;
    this.#nextHandler += count;
    const missing = this.#nextHandler - this.#table.size;
    if (missing > 0) this.#table.grow(Math.max(missing, 1024));
    return first;
  }

  threshold(offset: number, mode: number): number {
    return this.regions?.threshold(offset, mode) ?? 0;
  }

  dropped(block: Block): void {
    this.words[CODE_DROPPED >> 2] = 1;
    this.#byRecord.delete(block.start);
    this.#origins.set(block.start, block);
    this.regions?.dropped(block);
  }

  // --- CodeKeeper ----------------------------------------------------------

  hasCode(page: number): boolean {
    return this.cache.hasCode(page);
  }

  dropCode(page: number, from: number, length: number): void {
    this.cache.invalidate(page, from, length);
  }

  holdAs(holder: number): void {
    this.words[CODE_HOLDER >> 2] = holder;
  }

  protectPage(page: number): void {
    this.#call("protectPage", page);
  }

  protectAll(): void {
    this.#call("flushAll");
  }

  nextPage(): number | undefined {
    const linear = this.#linearRip();
    const low = ((linear[0] & ~0xfff) + 4096) >>> 0;
    const carry = low < 4096 ? 1 : 0;
    const high = codeSize(this.words[MODE_KEY >> 2]!) === 64
      ? (linear[1] + carry) >>> 0
      : 0;
    const offset = this.#fetch(low, high);
    if (offset < 0) return undefined;
    this.#claim(offset);
    return offset;
  }

  // Other threads hear of code before its bytes are read.
  #claim(offset: number): void {
    this.#options.memory.claimCode(Math.floor(offset / 4096));
  }

  #call(name: RuntimeName, ...args: number[]): number {
    const f = this.runtime[name] as (...a: number[]) => number;
    return f(...args);
  }

  // --- Fetching ------------------------------------------------------------

  #fetchStatus = 0;

  // Offset in guest memory of a linear address; below zero, #fetchStatus says why.
  #fetch(low: number, high: number): number {
    this.words[SCRATCH >> 2] = low;
    this.words[(SCRATCH >> 2) + 1] = high;
    const status = this.#call("fetch");
    this.#fetchStatus = status;
    if (status !== 0) return -1;
    const offsetLow = this.words[SCRATCH >> 2]! >>> 0;
    const offsetHigh = this.words[(SCRATCH >> 2) + 1]!;
    if (offsetHigh < 0 && offsetLow === NOT_RAM_LOW) {
      this.#fetchStatus = FETCH_FROM_DEVICE;
      return -1;
    }
    return offsetHigh * 2 ** 32 + offsetLow;
  }

  #linear: [number, number] = [0, 0];

  // RIP plus the base of CS, as low and high unsigned words.
  #linearRip(): [number, number] {
    const { words } = this;
    const low = words[RIP >> 2]! >>> 0;
    const baseLow = words[(CS + SEG_BASE) >> 2]! >>> 0;
    const is64 = codeSize(words[MODE_KEY >> 2]!) === 64;
    const sum = low + (is64 ? 0 : baseLow);
    this.#linear[0] = sum >>> 0;
    this.#linear[1] = is64 ? words[(RIP >> 2) + 1]! >>> 0 : 0;
    return this.#linear;
  }

  // Bytes that the code segment allows from RIP on.
  #codeLimit(): number {
    const { words } = this;
    const mode = words[MODE_KEY >> 2]!;
    if (codeSize(mode) === 64 || mode & MODE.FLAT) return Infinity;
    const limit = words[(CS + SEG_LIMIT) >> 2]! >>> 0;
    return limit - (words[RIP >> 2]! >>> 0) + 1;
  }

  /** The block at RIP, decoded where need be; undefined: `#fetchStatus`. */
  #blockAtRip(fresh: boolean): Block | undefined {
    const { words } = this;
    const limit = this.#codeLimit();
    if (limit <= 0) {
      this.raiseAtRip(13, 0);
      this.#fetchStatus = STATUS.FAULT;
      return undefined;
    }
    const [low, high] = this.#linearRip();
    const offset = this.#fetch(low, high);
    if (offset < 0) return undefined;
    const mode = words[MODE_KEY >> 2]!;
    let block = this.cache.find(offset, mode);
    if (block !== undefined && (fresh || block.bytes > limit)) {
      if (fresh) this.cache.drop(block);
      block = undefined;
    }
    if (block === undefined) {
      block = this.#decode(offset, mode, limit);
      if (block === undefined) return undefined;
      this.#flushHandlers();
      if (block.isCounted) this.#byRecord.set(block.start, block);
    }
    this.#enterJump(block, low & 0xfff, limit === Infinity || limit >= 4096);
    return block;
  }

  #decode(offset: number, mode: number, limit: number): Block | undefined {
    if (this.cache.isFull) this.emptyCache();
    this.#claim(offset);
    const block = this.cache.decode(offset, mode, limit);
    this.#options.memory.decodedCode();
    return block;
  }

  // Sets RIP_BASE and lets `dispatch` find the block.
  #enterJump(block: Block, inPage: number, remember: boolean): void {
    const { words } = this;
    const low = words[RIP >> 2]! >>> 0;
    const high = words[(RIP >> 2) + 1]!;
    const baseLow = low - inPage;
    words[RIP_BASE >> 2] = baseLow;
    words[(RIP_BASE >> 2) + 1] = baseLow < 0 ? high - 1 : high;
    if (!remember) return;
    this.#call("noteRip");
    const mixed = low ^ (low >>> JUMP_BITS | high << (32 - JUMP_BITS));
    const at = (mixed & JUMP_MASK) * (JUMP_STRIDE / JUMP_GRAIN);
    const entry = (JUMP_CACHE + at) >> 2;
    words[entry] = low;
    words[entry + 1] = high;
    words[entry + (JUMP_RECORD >> 2)] = block.start;
    words[entry + (JUMP_ENTRY_KEY >> 2)] = words[JUMP_KEY >> 2]!;
    if (block.mode & MODE.FLAT) this.#enterIndex(block);
  }

  // A block has two places: who had the first takes the second.
  #enterIndex({ offset, start, mode }: Block): void {
    const { words } = this;
    const page = Math.imul(Math.floor(offset / 4096), INDEX_MULTIPLIER);
    const index = (offset ^ page) & ((1 << INDEX_BITS) - 1);
    const at = BLOCK_INDEX + index * JUMP_STRIDE;
    const entry = at >> 2;
    const high = Math.floor(offset / 2 ** 32);
    const isSame = words[entry] === (offset | 0) && words[entry + 1] === high &&
      words[entry + (JUMP_ENTRY_KEY >> 2)] === mode;
    if (!isSame) {
      words.copyWithin((at ^ JUMP_STRIDE) >> 2, entry, entry + JUMP_STRIDE / 4);
    }
    words[entry] = offset;
    words[entry + 1] = high;
    words[entry + (JUMP_RECORD >> 2)] = start;
    words[entry + (JUMP_ENTRY_KEY >> 2)] = mode;
  }

  #clearIndex(): void {
    const bytes = JUMP_STRIDE << INDEX_BITS;
    this.words.fill(-1, BLOCK_INDEX >> 2, (BLOCK_INDEX + bytes) >> 2);
  }

  /** Forgets all decoded code. */
  emptyCache(): void {
    this.emptied++;
    this.cache.clear();
    this.#clearIndex();
    this.#byRecord.clear();
    this.#origins.clear();
    this.regions?.clear();
    this.#call("dropJumps");
  }

  /** Records an exception of the instruction at RIP, as emitted code would. */
  raiseAtRip(vector: number, error: number): void {
    this.words[TRAP_VECTOR >> 2] = vector;
    this.words[TRAP_ERROR >> 2] = error;
  }

  /** Copies the map of guest memory into memory 0 where it changed. */
  syncMap(): void {
    const { memory } = this.#options;
    if (memory.version === this.#mapVersion) return;
    this.#mapVersion = memory.version;
    memory.mappings.forEach((m, n) => {
      const at = MAP + n * MAP_STRIDE;
      const put = (offset: number, value: number) =>
        this.state.setBigUint64(at + offset, BigInt(value), true);
      put(0, m.gpa);
      put(8, m.gpa + m.length);
      put(16, m.offset);
      put(24, m.writable ? 3 : 1);
    });
    this.words[MAP_COUNT >> 2] = memory.mappings.length;
    this.#call("flushAll");
    this.#call("dropJumps");
  }

  /**
   * Runs from RIP until something but a missing block stops it: a status of
   * `STATUS` from `EVENTS` on, or `FETCH_FROM_DEVICE`.
   *
   * @param budget instructions to run before `EVENTS`
   */
  advance(budget: number): number {
    const { words } = this;
    words[BUDGET >> 2] = budget;
    words[TIME_UNTIL >> 2] = TIME_UNKNOWN;
    this.regions?.look();
    words[CODE_DROPPED >> 2] = 0;
    let status = this.#call("resume");
    for (;;) {
      switch (status) {
        case STATUS.MISS:
        case STATUS.LINK:
        case STATUS.STALE:
        case STATUS.MOVED: {
          this.lookups++;
          const owner = words[TRAP_DATA >> 2]!;
          const before = this.cache.epoch;
          words[CODE_DROPPED >> 2] = 0;
          const block = this.#blockAtRip(status === STATUS.MOVED);
          if (block === undefined) return this.#fetchStatus;
          if (status === STATUS.LINK && before === this.cache.epoch) {
            this.cache.link(owner, block);
          } else if (status === STATUS.STALE) {
            this.#forward(owner, block);
          }
          status = this.#call("enter", block.start);
          break;
        }
        case STATUS.HOT:
          status = this.#call("enter", this.#heat(words[TRAP_DATA >> 2]!));
          break;
        default:
          return status;
      }
    }
  }

  // Makes a dropped block's first record lead to the block that is there now.
  #forward(record: number, { start, mode, offset }: Block): void {
    const origin = this.#origins.get(record);
    if (origin?.offset !== offset || origin.mode !== mode) return;
    const handler = this.handler(steps.FORWARD, PLAIN);
    this.state.setInt32(record + REC_HANDLER, handler, true);
    this.state.setInt32(record + REC_OPERAND, start, true);
    this.#origins.delete(record);
  }

  // A block is hot: answers the record to go on at.
  #heat(record: number): number {
    const block = this.#byRecord.get(record);
    if (block === undefined) return record + RECORD_STRIDE;
    this.hot++;
    this.regions?.hot(block);
    return record;
  }
}
