// Decoded code: blocks of records by physical address and mode key, and which
// pages they came from, so that writes drop them (Intel SDM vol. 3, 12.6).

import {
  Code,
  CodeExt,
  Decoder,
  DecoderError,
  DecoderOptions,
  Instruction,
  MemorySizeExt,
  Mnemonic,
  OpKind,
  Register,
} from "iced-x86";
import type { Definition, Form } from "./form.ts";
import { FORMS } from "./forms/mod.ts";
import { codeSize, MODE, stackSize } from "./mode.ts";
import {
  REC_COUNT,
  REC_DISP,
  REC_HANDLER,
  REC_IMM,
  REC_LENGTH,
  REC_LINK,
  REC_OPERAND,
  REC_SITE,
  SITE_STACK,
} from "./record.ts";
import { type ModeSize, PLAIN, type Shape } from "./shape.ts";
import {
  CR,
  DR,
  ES,
  FPR,
  gprAddress,
  RECORD_STRIDE,
  RECORDS,
  RECORDS_SIZE,
  RIP_BASE,
  SEGMENT_STRIDE,
  vectorAddress,
  ZERO,
} from "./state.ts";
import * as steps from "./steps.ts";
import { VECTOR } from "./runtime/traps.ts";

/** Most instructions in a block: bounds decoding ahead and interrupt latency. */
const MAX_INSTRUCTIONS = 64;
/** Longest legal instruction (Intel SDM vol. 2, 2.3.11). */
const MAX_LENGTH = 15;
/** Most bytes of a block, since decoding copies them: few blocks are longer. */
const MAX_BYTES = 192;
/** Records that the longest block can need: two an instruction, stubs, ends. */
const BLOCK_RECORDS = MAX_INSTRUCTIONS * 3 + 4;

/** A decoded block. */
export interface Block {
  /** address of its first record */
  readonly start: number;
  /** address after its last record, stubs included */
  end: number;
  /** address after the records of its instructions: what follows only leads on */
  readonly bodyEnd: number;
  /** pages of guest memory that its bytes lie in: one or two */
  readonly pages: readonly number[];
  /** where its bytes begin, as offset in guest memory */
  readonly offset: number;
  /** bytes of the instructions in it */
  bytes: number;
  /** its mode key */
  readonly mode: number;
}

/** A record of a block, by what it was made from. */
export interface BlockRecord {
  /** its address in memory 0 */
  readonly address: number;
  /** what it does */
  readonly definition: Definition;
  /** in which shape */
  readonly shape: Shape;
}

/** What the cache needs of the processor that it decodes for. */
export interface CodeSource {
  /** guest memory by offset */
  readonly memory: Uint8Array;
  /** memory 0 */
  readonly state: DataView;
  /** table index of a handler */
  handler(definition: Definition, shape: Shape): number;
  /** whether the processor has the instruction */
  supports(code: Code): boolean;
  /** makes a page not writable on the fast path */
  protect(page: number): void;
  /** where the bytes after the page of the block lie; undefined: a fault waits */
  nextPage(): number | undefined;
  /** is told of every new block; its records are in order of execution */
  decoded?(block: Block, records: readonly BlockRecord[]): void;
  /** iced's decoder options */
  readonly decoderOptions: number;
}

interface CodeInfo {
  readonly form: Form | undefined;
  readonly isReal: boolean;
}

/** Address in memory 0 of each register; x87 registers stand for their index. */
const REGISTER_ADDRESS = registerAddresses();

function registerAddresses(): Int32Array {
  const table = new Int32Array(256).fill(ZERO);
  const put = (first: Register, count: number, at: (n: number) => number) => {
    for (let n = 0; n < count; n++) table[first + n] = at(n);
  };
  put(Register.AL, 4, gprAddress);
  put(Register.AH, 4, (n) => gprAddress(n) + 1);
  put(Register.SPL, 12, (n) => gprAddress(n + 4));
  for (const first of [Register.AX, Register.EAX, Register.RAX]) {
    put(first, 16, gprAddress);
  }
  put(Register.ES, 6, (n) => ES + n * SEGMENT_STRIDE);
  put(Register.XMM0, 16, vectorAddress);
  put(Register.YMM0, 16, vectorAddress);
  put(Register.MM0, 8, (n) => FPR + 16 * n);
  put(Register.ST0, 8, (n) => n);
  put(Register.CR0, 16, (n) => CR + 8 * Math.min(n, 8));
  put(Register.DR0, 8, (n) => DR + 8 * n);
  table[Register.EIP] = RIP_BASE;
  table[Register.RIP] = RIP_BASE;
  return table;
}

function registerAddress(register: Register): number {
  return REGISTER_ADDRESS[register]!;
}

const IMPLIED_ADDRESS: ReadonlyMap<OpKind, ModeSize> = new Map([
  [OpKind.MemorySegSI, 16],
  [OpKind.MemorySegESI, 32],
  [OpKind.MemorySegRSI, 64],
  [OpKind.MemorySegDI, 16],
  [OpKind.MemorySegEDI, 32],
  [OpKind.MemorySegRDI, 64],
  [OpKind.MemoryESDI, 16],
  [OpKind.MemoryESEDI, 32],
  [OpKind.MemoryESRDI, 64],
]);

const FIXED_TO_ES: ReadonlySet<OpKind> = new Set([
  OpKind.MemoryESDI,
  OpKind.MemoryESEDI,
  OpKind.MemoryESRDI,
]);

// XLAT's operand is the one that is not told by its kind.
function impliedAddress(
  instruction: Instruction,
  kind: OpKind,
  code: ModeSize,
): ModeSize {
  return IMPLIED_ADDRESS.get(kind) ?? addressSize(instruction, code);
}

/** The decoded code of one virtual CPU. */
export class BlockCache {
  readonly #source: CodeSource;
  readonly #blocks = new Map<number, Block>();
  readonly #pages = new Map<number, Set<Block>>();
  readonly #infos: (CodeInfo | undefined)[] = [];
  readonly #instruction = new Instruction();
  #next = RECORDS;

  /** How often the cache was emptied. */
  epoch = 0;
  /** Blocks decoded since the cache was made. */
  decoded = 0;
  /** Instructions decoded since the cache was made. */
  instructions = 0;

  constructor(source: CodeSource) {
    this.#source = source;
    // A drop happens while code runs, when no handler can be built.
    for (const code of [16, 32, 64] as const) this.#stale(code);
  }

  #stale(code: ModeSize): number {
    return this.#source.handler(steps.STALE, { ...PLAIN, code });
  }

  /** Whether a page of guest memory holds decoded code. */
  hasCode(page: number): boolean {
    return this.#pages.has(page);
  }

  /** Forgets everything. Only where no record is executing. */
  clear(): void {
    this.epoch++;
    this.#blocks.clear();
    this.#pages.clear();
    this.#next = RECORDS;
  }

  /** Whether the next block might not fit: then `clear` first. */
  get isFull(): boolean {
    return this.#next + BLOCK_RECORDS * RECORD_STRIDE > RECORDS + RECORDS_SIZE;
  }

  /** The block at an offset in guest memory, if it is decoded. */
  find(offset: number, mode: number): Block | undefined {
    return this.#blocks.get(offset * 1024 + mode);
  }

  /**
   * Drops the blocks that a write hits. Their records are made stale, so that
   * one of them that executes goes on with the new bytes.
   */
  invalidate(page: number, from: number, length: number): void {
    const blocks = this.#pages.get(page);
    if (blocks === undefined) return;
    const first = page * 4096 + from;
    for (const block of blocks) {
      const crosses = block.pages.length > 1;
      const end = block.offset + block.bytes;
      if (crosses || (block.offset < first + length && first < end)) {
        this.drop(block);
      }
    }
  }

  /** Drops every block of a page. */
  invalidatePage(page: number): void {
    for (const block of this.#pages.get(page) ?? []) this.drop(block);
  }

  /** Drops one block. */
  drop(block: Block): void {
    const { state } = this.#source;
    const stale = this.#stale(codeSize(block.mode));
    // The ends stay: an instruction that drops its own block still goes on by them.
    for (let at = block.start; at < block.bodyEnd; at += RECORD_STRIDE) {
      state.setInt32(at + REC_HANDLER, stale, true);
    }
    this.#blocks.delete(block.offset * 1024 + block.mode);
    for (const page of block.pages) {
      const set = this.#pages.get(page);
      set?.delete(block);
      if (set?.size === 0) this.#pages.delete(page);
    }
  }

  /** Sets where a direct branch leads, if its block is still there. */
  link(owner: number, target: Block): void {
    this.#source.state.setInt32(owner + REC_LINK, target.start, true);
  }

  #info(code: Code): CodeInfo {
    let info = this.#infos[code];
    if (info === undefined) {
      const opCode = CodeExt.opCode(code);
      info = {
        form: this.#source.supports(code) ? FORMS.get(code) : undefined,
        isReal: opCode.realMode,
      };
      opCode.free();
      this.#infos[code] = info;
    }
    return info;
  }

  /**
   * Decodes the block at an offset in guest memory. Answers undefined where its
   * first instruction's bytes cannot all be fetched: then a fault waits.
   *
   * @param limit bytes that the code segment allows from here on
   */
  decode(offset: number, mode: number, limit: number): Block | undefined {
    const page = Math.floor(offset / 4096);
    const inPage = offset % 4096;
    const available = Math.min(4096 - inPage, limit);
    const bytes = this.#source.memory.subarray(
      offset,
      offset + Math.min(available, MAX_BYTES),
    );
    const writer = new BlockWriter(this.#source, this.#next, mode);
    const count = this.#decodeInto(writer, bytes, inPage, mode);
    if (count > 0) return this.#finish(writer, [page], offset, mode, limit);
    // The first instruction does not fit before the page's end.
    if (available < 4096 - inPage) {
      writer.raise(VECTOR.GP, 0, inPage);
      return this.#finish(writer, [page], offset, mode, limit);
    }
    if (this.#isUndefined(bytes, mode)) {
      writer.raise(VECTOR.UD, -1, inPage);
      return this.#finish(writer, [page], offset, mode, limit);
    }
    const second = this.#source.nextPage();
    if (second === undefined) return undefined;
    const both = new Uint8Array(bytes.length + MAX_LENGTH);
    both.set(bytes);
    both.set(
      this.#source.memory.subarray(second, second + MAX_LENGTH),
      bytes.length,
    );
    const allowed = both.subarray(0, Math.min(both.length, limit));
    const crossing = new BlockWriter(this.#source, this.#next, mode);
    crossing.checkPage(second, inPage);
    if (this.#decodeInto(crossing, allowed, inPage, mode, 1) === 0) {
      crossing.raise(VECTOR.GP, 0, inPage);
    }
    const pages = [page, Math.floor(second / 4096)];
    return this.#finish(crossing, pages, offset, mode, limit);
  }

  // Whether nothing that may follow the bytes makes them an instruction: then
  // #UD comes before a fault on what follows. UD0 and UD1 have no operands to
  // wait for either, as AMD's processors have it.
  #isUndefined(bytes: Uint8Array, mode: number): boolean {
    const { decoderOptions } = this.#source;
    const opcode = bytes.find((byte) => !isPrefix(byte, codeSize(mode)));
    if (opcode !== undefined && LONG_PREFIXES.has(opcode)) return false;
    const options = decoderOptions | DecoderOptions.NoInvalidCheck;
    const padded = new Uint8Array(bytes.length + MAX_LENGTH);
    padded.set(bytes);
    for (let next = 0; next < 256; next++) {
      padded[bytes.length] = next;
      const decoder = new Decoder(codeSize(mode), padded, options);
      decoder.decodeOut(this.#instruction);
      decoder.free();
      const { code, mnemonic } = this.#instruction;
      const undefines = mnemonic === Mnemonic.Ud0 || mnemonic === Mnemonic.Ud1;
      if (code !== Code.INVALID && !undefines) return false;
    }
    return true;
  }

  // Decodes until a block ends; answers the number of instructions.
  #decodeInto(
    writer: BlockWriter,
    bytes: Uint8Array,
    inPage: number,
    mode: number,
    most = mode & MODE.STEP ? 1 : MAX_INSTRUCTIONS,
  ): number {
    const decoder = new Decoder(
      codeSize(mode),
      bytes,
      this.#source.decoderOptions,
    );
    decoder.ip = BigInt(inPage);
    const instruction = this.#instruction;
    let count = 0;
    let ended = false;
    while (count < most && !ended && decoder.canDecode) {
      const start = inPage + decoder.position;
      decoder.decodeOut(instruction);
      if (decoder.lastError === DecoderError.NoMoreBytes) {
        if (bytes.length - (start - inPage) < MAX_LENGTH) break;
        // Fifteen bytes and not yet an instruction: too long.
        writer.raise(VECTOR.GP, 0, start);
        ended = true;
      } else {
        ended = this.#add(writer, instruction, start, mode);
      }
      count++;
    }
    if (!ended && count > 0) writer.fall();
    decoder.free();
    return count;
  }

  // Adds one instruction; answers whether the block ends with it.
  #add(
    writer: BlockWriter,
    instruction: Instruction,
    start: number,
    mode: number,
  ): boolean {
    const length = instruction.length;
    writer.begin(start, length);
    this.instructions++;
    const { form, isReal } = this.#info(instruction.code);
    const isProtected = (mode & MODE.PROTECTED) !== 0;
    if (form === undefined || !(isProtected || isReal)) {
      const tooLong = instruction.isInvalid && length >= MAX_LENGTH;
      writer.raise(tooLong ? VECTOR.GP : VECTOR.UD, tooLong ? 0 : -1, start);
      return true;
    }
    const refusal = unitFault(form, mode);
    if (refusal !== 0) {
      writer.raise(refusal, -1, start);
      return true;
    }
    writer.instruction(instruction, form);
    return form.ends;
  }

  #finish(
    writer: BlockWriter,
    pages: readonly number[],
    offset: number,
    mode: number,
    limit: number,
  ): Block {
    writer.close();
    const block: Block = {
      start: this.#next,
      end: writer.end,
      bodyEnd: writer.bodyEnd,
      pages,
      offset,
      bytes: Math.max(writer.lastEnd, 1),
      mode,
    };
    this.#next = writer.end;
    this.decoded++;
    for (const page of pages) {
      let set = this.#pages.get(page);
      if (set === undefined) {
        set = new Set();
        this.#pages.set(page, set);
        this.#source.protect(page);
      }
      set.add(block);
    }
    // A block that the segment's limit cut short is not the bytes' own.
    if (limit >= 4096) this.#blocks.set(offset * 1024 + mode, block);
    this.#source.decoded?.(block, writer.records);
    return block;
  }
}

// The fault that the unit an instruction needs raises in this mode, or 0.
function unitFault(form: Form, mode: number): number {
  const em = mode & MODE.EM;
  const ts = mode & MODE.TS;
  switch (form.unit) {
    case "x87":
    case "fxsr":
      return em || ts ? VECTOR.NM : 0;
    case "wait":
      return ts && mode & MODE.MP ? VECTOR.NM : 0;
    case "mmx":
      return em ? VECTOR.UD : ts ? VECTOR.NM : 0;
    case "sse":
      return em || !(mode & MODE.OSFXSR) ? VECTOR.UD : ts ? VECTOR.NM : 0;
    default:
      return 0;
  }
}

/** Writes the records of one block. */
class BlockWriter {
  /** Address after the last record. */
  end: number;
  /** Address after the records of instructions, once there are others. */
  bodyEnd = 0;
  /** Offset after the last complete instruction, from the block's start. */
  lastEnd = 0;
  readonly #source: CodeSource;
  readonly #mode: number;
  readonly #code: ModeSize;
  readonly #shape: Shape;
  /** The records so far. */
  readonly records: BlockRecord[] = [];
  readonly #stubs: { owner: number; target: number }[] = [];
  #first = -1;
  #site = 0;
  #length = 0;
  #count = 0;

  constructor(source: CodeSource, at: number, mode: number) {
    this.#source = source;
    this.end = at;
    this.#mode = mode;
    this.#code = codeSize(mode);
    this.#shape = {
      ...PLAIN,
      code: this.#code,
      stack: stackSize(mode),
      flat: (mode & MODE.FLAT) !== 0,
    };
  }

  /** Begins an instruction at an offset in the page. */
  begin(start: number, length: number): void {
    if (this.#first < 0) this.#first = start;
    this.#site = start;
    this.#length = length;
    this.#count++;
    this.lastEnd = start + length - this.#first;
  }

  // Appends a record whose operands, immediate and displacement are zero.
  #record(definition: Definition, shape: Shape): number {
    const at = this.end;
    const { state } = this.#source;
    this.end += RECORD_STRIDE;
    if (this.#source.decoded !== undefined) {
      this.records.push({ address: at, definition, shape });
    }
    state.setInt32(at, this.#source.handler(definition, shape), true);
    for (let n = 4; n < REC_SITE; n += 4) state.setInt32(at + n, 0, true);
    state.setUint16(at + REC_SITE, this.#site, true);
    state.setUint8(at + REC_LENGTH, this.#length);
    state.setUint8(at + REC_COUNT, this.#count);
    return at;
  }

  #operand(at: number, n: number, value: number): void {
    this.#source.state.setInt32(at + REC_OPERAND + 4 * n, value, true);
  }

  // Sets the immediate to a safe integer.
  #imm(at: number, value: number): void {
    const { state } = this.#source;
    state.setInt32(at + REC_IMM, value, true);
    state.setInt32(at + REC_IMM + 4, Math.floor(value / 2 ** 32), true);
  }

  /** Appends a raise. */
  raise(vector: number, error: number, start: number): void {
    if (this.#first < 0) this.begin(start, 0);
    const at = this.#record(steps.RAISE, this.#shape);
    this.#operand(at, 0, vector);
    this.#operand(at, 1, error);
  }

  /** Appends the check that a crossing instruction's second page is the same. */
  checkPage(offset: number, start: number): void {
    this.#site = start;
    this.#imm(this.#record(steps.CHECK_PAGE, this.#shape), offset);
  }

  /** Ends the block by going on behind its last instruction. */
  fall(): void {
    this.bodyEnd = this.end;
    const target = this.#first + this.lastEnd;
    const at = this.#record(steps.FALL, this.#shape);
    this.#imm(at, target);
    this.#stubs.push({ owner: at, target });
  }

  /** Appends the stubs of direct branches. */
  close(): void {
    this.bodyEnd ||= this.end;
    for (const { owner, target } of this.#stubs) {
      const isHere = target >= 0 && target < 4096 && this.#shape.flat &&
        !(this.#mode & MODE.STEP);
      const at = this.#record(isHere ? steps.LINK : steps.LOOKUP, this.#shape);
      this.#operand(at, 0, owner);
      this.#imm(at, target);
      this.#source.state.setInt32(owner + REC_LINK, at, true);
    }
  }

  /** Appends an instruction of a form, with its effective address before it. */
  instruction(instruction: Instruction, form: Form): void {
    let memory: Shape["memory"] = "none";
    let address: ModeSize = this.#code;
    let site = this.#site;
    const operands = form.operands;
    for (let n = 0; n < operands.length; n++) {
      const kind = instruction.opKind(n);
      if (operands[n]!.kind === "implied") {
        address = impliedAddress(instruction, kind, this.#code);
      } else if (kind === OpKind.Memory) {
        address = addressSize(instruction, this.#code);
        memory = this.#memoryShape(instruction, form, address);
        if (instruction.memorySegment === Register.SS) site |= SITE_STACK;
      }
    }
    if (memory === "ea") {
      this.#effectiveAddress(instruction, form, address, site);
    }
    const shape: Shape = {
      ...this.#shape,
      memory,
      address,
      lock: isLocked(instruction, memory),
      rep: instruction.hasRepnePrefix
        ? "repne"
        : instruction.hasRepePrefix
        ? "repe"
        : "none",
    };
    const at = this.#record(form, shape);
    this.#source.state.setUint16(at + REC_SITE, site, true);
    for (let n = 0; n < operands.length; n++) {
      if (operands[n]!.kind === "implied") this.#implied(at, n, instruction);
      else this.#setOperand(at, n, instruction, form);
    }
  }

  // Memory that registers imply: its field names its segment, and so does field 2
  // where no register is there, which is where string instructions look.
  #implied(at: number, n: number, instruction: Instruction): void {
    if (FIXED_TO_ES.has(instruction.opKind(n))) return;
    const slot = registerAddress(instruction.memorySegment);
    this.#operand(at, n, slot);
    if (instruction.opCount < 3) this.#operand(at, 2, slot);
  }

  #memoryShape(
    instruction: Instruction,
    form: Form,
    address: ModeSize,
  ): "base" | "ea" {
    const segment = instruction.memorySegment;
    const isBased = (segment === Register.FS || segment === Register.GS) &&
      !isOffset(form);
    const isPlain = instruction.memoryIndex === Register.None && !isBased &&
      address === this.#code && address !== 16 &&
      (this.#shape.flat || isOffset(form)) &&
      form.operands.filter((o) => o.kind === "either" || o.kind === "memory")
          .length === 1;
    return isPlain ? "base" : "ea";
  }

  #effectiveAddress(
    instruction: Instruction,
    form: Form,
    address: ModeSize,
    site: number,
  ): void {
    const segment = instruction.memorySegment;
    const slot = registerAddress(segment);
    const isBased = segment === Register.FS || segment === Register.GS;
    const isFree = isOffset(form) ||
      (this.#code === 64 ? !isBased : this.#shape.flat && !isBased);
    const bytes = MemorySizeExt.size(instruction.memorySize);
    const step = isFree
      ? steps.EA_FLAT
      : this.#code !== 64
      ? steps.EA_CHECKED
      : address === 64 && bytes > 0 && isAnywhere(instruction)
      ? steps.EA_BASED_CHECKED
      : steps.EA_BASED;
    const at = this.#record(step, { ...this.#shape, address });
    this.#source.state.setUint16(at + REC_SITE, site, true);
    this.#setBase(at, 0, instruction, at + RECORD_STRIDE);
    this.#operand(at, 1, registerAddress(instruction.memoryIndex));
    this.#operand(at, 2, Math.log2(instruction.memoryIndexScale));
    this.#setDisplacement(at, instruction, form);
    if (step === steps.EA_BASED) this.#imm(at, slot);
    if (step === steps.EA_CHECKED || step === steps.EA_BASED_CHECKED) {
      const write = form.access === "read" ? 0 : 1;
      this.#imm(at, Number(steps.packCheck(slot, bytes || 1, write)));
    }
  }

  // `owner` is the record of the instruction, `at` that of its address.
  #setBase(
    at: number,
    n: number,
    instruction: Instruction,
    owner: number,
  ): void {
    if (!hasWideDisplacement(instruction)) {
      this.#operand(at, n, registerAddress(instruction.memoryBase));
      return;
    }
    // The 64-bit address lies in the instruction's immediate, and serves as its
    // base register; such an instruction (MOV moffs) has no other immediate.
    const { state } = this.#source;
    const imm = owner + REC_IMM;
    state.setBigUint64(imm, instruction.memoryDisplacement, true);
    this.#operand(at, n, imm);
  }

  #setDisplacement(
    at: number,
    instruction: Instruction,
    form: Form,
  ): void {
    const base = instruction.memoryBase;
    if (hasWideDisplacement(instruction)) return;
    // RIP-relative addresses come relative to the page, like branch targets.
    let disp = Number(BigInt.asIntN(32, instruction.memoryDisplacement));
    // POP computes its destination after it moved the stack pointer.
    const isStack = base === Register.RSP || base === Register.ESP;
    if (isStack && form.name.startsWith("Pop_rm")) {
      disp += MemorySizeExt.size(instruction.memorySize);
    }
    this.#source.state.setInt32(at + REC_DISP, disp, true);
  }

  #setOperand(
    at: number,
    n: number,
    instruction: Instruction,
    form: Form,
  ): void {
    const { state } = this.#source;
    const kind = instruction.opKind(n);
    switch (kind) {
      case OpKind.Register:
        if (n < 3) {
          this.#operand(at, n, registerAddress(instruction.opRegister(n)));
        }
        return;
      case OpKind.Memory:
        this.#setBase(at, n, instruction, at);
        this.#setDisplacement(at, instruction, form);
        if (form.access === "offset") {
          this.#operand(at, 2, registerAddress(instruction.memorySegment));
        }
        return;
      case OpKind.NearBranch16:
        this.#imm(at, instruction.nearBranch16);
        return;
      case OpKind.NearBranch32:
        this.#branch(at, instruction.nearBranch32 | 0);
        return;
      case OpKind.NearBranch64:
        this.#branch(at, Number(BigInt.asIntN(64, instruction.nearBranch64)));
        return;
      case OpKind.FarBranch16:
        this.#imm(at, instruction.farBranch16);
        state.setInt32(at + REC_IMM + 4, instruction.farBranchSelector, true);
        return;
      case OpKind.FarBranch32:
        this.#imm(at, instruction.farBranch32);
        state.setInt32(at + REC_IMM + 4, instruction.farBranchSelector, true);
        return;
      case OpKind.Immediate8:
        this.#imm(at, instruction.immediate8);
        return;
      case OpKind.Immediate8_2nd:
        state.setInt32(at + REC_IMM + 4, instruction.immediate8_2nd, true);
        return;
      case OpKind.Immediate16:
        this.#imm(at, instruction.immediate16);
        return;
      case OpKind.Immediate32:
        this.#imm(at, instruction.immediate32);
        return;
      case OpKind.Immediate32to64:
        this.#imm(at, instruction.immediate32 | 0);
        return;
      case OpKind.Immediate8to16:
      case OpKind.Immediate8to32:
      case OpKind.Immediate8to64:
        this.#imm(at, instruction.immediate8 << 24 >> 24);
        return;
      case OpKind.Immediate64:
        state.setBigUint64(at + REC_IMM, instruction.immediate64, true);
        return;
    }
  }

  #branch(at: number, target: number): void {
    this.#imm(at, target);
    this.#stubs.push({ owner: at, target });
  }
}

const PREFIXES: ReadonlySet<number> = new Set([
  ...[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3],
]);

/** What VEX, EVEX and XOP begin with: a byte more does not yet tell an opcode. */
const LONG_PREFIXES: ReadonlySet<number> = new Set([0xc4, 0xc5, 0x62, 0x8f]);

function isPrefix(byte: number, code: ModeSize): boolean {
  return PREFIXES.has(byte) || (code === 64 && byte >> 4 === 4);
}

// Whether the 64-bit effective address is not a displacement (or next to RIP),
// which is always canonical.
function isAnywhere(instruction: Instruction): boolean {
  const base = instruction.memoryBase;
  return (base !== Register.None && base !== Register.RIP) ||
    instruction.memoryIndex !== Register.None ||
    hasWideDisplacement(instruction);
}

// Whether the operand is an absolute address that does not fit a displacement.
function hasWideDisplacement(instruction: Instruction): boolean {
  if (
    instruction.memoryBase !== Register.None ||
    instruction.memoryIndex !== Register.None ||
    instruction.memoryDisplSize !== 8
  ) return false;
  const disp = instruction.memoryDisplacement;
  return BigInt.asIntN(32, disp) !== BigInt.asIntN(64, disp);
}

const XCHG = /^Xchg_rm/;

// XCHG with memory locks without the prefix.
function isLocked(instruction: Instruction, memory: Shape["memory"]): boolean {
  if (memory === "none") return false;
  if (instruction.hasLockPrefix) return true;
  const form = FORMS.get(instruction.code);
  return form !== undefined && XCHG.test(form.name);
}

// Whether the definition gets its operand's address without a segment.
function isOffset(form: Form): boolean {
  return form.access === "none" || form.access === "offset";
}

function addressSize(instruction: Instruction, code: ModeSize): ModeSize {
  for (const register of [instruction.memoryBase, instruction.memoryIndex]) {
    if (register === Register.RIP) return 64;
    if (register === Register.EIP) return 32;
    if (register >= Register.RAX && register <= Register.R15) return 64;
    if (register >= Register.EAX && register <= Register.R15D) return 32;
    if (register >= Register.AX && register <= Register.R15W) return 16;
  }
  switch (instruction.memoryDisplSize) {
    case 8:
      return 64;
    case 4:
      return 32;
    case 2:
      return 16;
    default:
      return code;
  }
}
