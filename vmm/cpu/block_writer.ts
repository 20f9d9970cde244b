// Records of one block (see `record.ts`): instructions of iced-x86 become records of
// their forms, with steps for effective addresses and stubs for direct branches.

import type { Definition, Form } from "./form.ts";
import { OpKind, Register } from "./iced/enumerations.ts";
import { bytesOf, type Instruction } from "./iced/instruction.ts";
import { codeSize, MODE, stackSize } from "./mode.ts";
import {
  addressSize,
  hasWideDisplacement,
  impliedAddress,
  isAnywhere,
  isFixedToEs,
  isLocked,
  isOffset,
  isOnStack,
} from "./memory_operands.ts";
import {
  REC_COUNT,
  REC_DISP,
  REC_IMM,
  REC_LENGTH,
  REC_LINK,
  REC_OPERAND,
  REC_SITE,
  SITE_STACK,
} from "./record.ts";
import { registerAddress } from "./register_addresses.ts";
import { type ModeSize, PLAIN, type Shape } from "./shape.ts";
import { RECORD_STRIDE } from "./state.ts";
import { applyTemplate, NO_TARGET, recordWords } from "./template.ts";
import * as steps from "./steps.ts";

const MODE_OF_SHAPE = MODE.CODE | MODE.STACK32 | MODE.FLAT;

// What shapes have of the mode, by the mode.
const SHAPES: readonly Shape[] = Array.from(
  { length: MODE_OF_SHAPE + 1 },
  (_, mode) => ({
    ...PLAIN,
    code: codeSize(mode),
    stack: stackSize(mode),
    flat: (mode & MODE.FLAT) !== 0,
  }),
);

/** What records are written for. */
export interface RecordSink {
  /** memory 0 */
  readonly state: DataView;
  /** memory 0 as 32-bit words */
  readonly words: Int32Array;
  /** table index of a handler */
  handler(definition: Definition, shape: Shape): number;
}

/** Writes the records of one block. */
export class BlockWriter {
  /** Address after the last record. */
  end: number;
  /** Address after the records of instructions, once there are others. */
  bodyEnd = 0;
  /** Whether the block begins with a count. */
  isCounted = false;
  /** Offset after the last complete instruction, from the block's start. */
  lastEnd = 0;
  readonly #source: RecordSink;
  readonly #mode: number;
  readonly #code: ModeSize;
  readonly #shape: Shape;
  readonly #stubs: { owner: number; target: number }[] = [];
  #first = -1;
  #site = 0;
  #length = 0;
  /** Instructions so far. */
  count = 0;

  constructor(source: RecordSink, at: number, mode: number) {
    this.#source = source;
    this.end = at;
    this.#mode = mode;
    this.#code = codeSize(mode);
    this.#shape = SHAPES[mode & MODE_OF_SHAPE]!;
  }

  /** Begins an instruction at an offset in the page. */
  begin(start: number, length: number): void {
    if (this.#first < 0) this.#first = start;
    this.#site = start;
    this.#length = length;
    this.count++;
    this.lastEnd = start + length - this.#first;
  }

  // Appends a record whose operands, immediate and displacement are zero.
  #record(definition: Definition, shape: Shape): number {
    const at = this.end;
    const { state } = this.#source;
    this.end += RECORD_STRIDE;
    state.setInt32(at, this.#source.handler(definition, shape), true);
    for (let n = 4; n < REC_SITE; n += 4) state.setInt32(at + n, 0, true);
    state.setUint16(at + REC_SITE, this.#site, true);
    state.setUint8(at + REC_LENGTH, this.#length);
    state.setUint8(at + REC_COUNT, this.count);
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

  /** Begins with a record that counts executions until the block is hot. */
  profile(start: number, threshold: number): void {
    const at = this.#record(steps.PROFILE, this.#shape);
    this.#operand(at, 0, threshold);
    this.isCounted = true;
    this.#source.state.setUint16(at + REC_SITE, start, true);
    // Nothing has run before it: see `steps.STALE`.
    this.#source.state.setUint8(at + REC_COUNT, 1);
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
    const isIgnored = form.access === "ignored";
    for (let n = 0; n < operands.length; n++) {
      const kind = instruction.opKind(n);
      if (operands[n]!.kind === "implied") {
        address = impliedAddress(instruction, kind, this.#code);
      } else if (kind === OpKind.Memory && !isIgnored) {
        address = addressSize(instruction, this.#code);
        memory = this.#memoryShape(instruction, form, address);
        if (isOnStack(instruction, this.#code)) site |= SITE_STACK;
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
    const at = this.#record(isIgnored ? steps.NOTHING : form, shape);
    this.#source.state.setUint16(at + REC_SITE, site, true);
    for (let n = 0; n < operands.length; n++) {
      if (operands[n]!.kind === "implied") this.#implied(at, n, instruction);
      else this.#setOperand(at, n, instruction, form);
    }
  }

  /** Appends an instruction, `from` in the bytes, by a template in the pool. */
  repeat(
    pool: Int32Array,
    template: number,
    bytes: Uint8Array,
    from: number,
  ): void {
    const target = applyTemplate(
      pool,
      template,
      bytes,
      from,
      this.#source.words,
      this.end >> 2,
      this.#site,
      this.count,
    );
    this.end += 4 * recordWords(pool[template]!);
    if (target === NO_TARGET) return;
    this.#stubs.push({ owner: this.end - RECORD_STRIDE, target });
  }

  // Memory that registers imply: its field names its segment, and so does field 2
  // where no register is there, which is where string instructions look.
  #implied(at: number, n: number, instruction: Instruction): void {
    if (isFixedToEs(instruction.opKind(n))) return;
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
    const bytes = bytesOf(instruction.memorySize);
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
      disp += bytesOf(instruction.memorySize);
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
