// Where a form's operands come from: a record in memory 0 (threaded code), or
// constants known when the code is emitted (compiled code).

import { type I32, i32, type I64, i64, type Memory } from "./wasm/mod.ts";
import {
  REC_COUNT,
  REC_DISP,
  REC_IMM,
  REC_LENGTH,
  REC_LINK,
  REC_OPERAND,
  REC_SITE,
} from "./record.ts";

/** The fields of one record, as expressions. */
export interface Fields {
  /** Address of the record; for steps of threaded code alone. */
  record(): I32;
  /** Address of the register in operand `n` (or of its base register). */
  operand(n: number): I32;
  /** The immediate. */
  imm(): I64;
  /** The displacement, sign-extended. */
  disp(): I64;
  /** The record that a direct branch leads to. */
  link(): I32;
  /** Page offset of the instruction with `SITE_STACK`. */
  site(): I32;
  /** Bytes of the instruction. */
  length(): I32;
  /** Instructions of the block up to and with this one. */
  count(): I32;
}

/** Reads the fields from a record. */
export class RecordFields implements Fields {
  /**
   * @param state memory 0
   * @param at where the record lies, but for the offset
   */
  constructor(
    readonly state: Memory<"i32">,
    readonly at: I32,
    readonly offset: number,
  ) {}

  record(): I32 {
    return this.at.add(this.offset);
  }
  operand(n: number): I32 {
    return this.state.load32(this.at, this.offset + REC_OPERAND + 4 * n);
  }
  imm(): I64 {
    return this.state.load64(this.at, this.offset + REC_IMM);
  }
  disp(): I64 {
    return this.state.load32S(this.at, this.offset + REC_DISP);
  }
  link(): I32 {
    return this.state.load32(this.at, this.offset + REC_LINK);
  }
  site(): I32 {
    return this.state.load16(this.at, this.offset + REC_SITE);
  }
  length(): I32 {
    return this.state.load8(this.at, this.offset + REC_LENGTH);
  }
  count(): I32 {
    return this.state.load8(this.at, this.offset + REC_COUNT);
  }
}

/** The values of a record's fields. */
export interface FieldValues {
  /** addresses of operand registers */
  readonly operands: readonly number[];
  /** immediate */
  readonly imm: number | bigint;
  /** displacement, or the record that a direct branch leads to */
  readonly disp: number;
  /** page offset with `SITE_STACK` */
  readonly site: number;
  /** bytes of the instruction */
  readonly length: number;
  /** instructions of the block up to and with this one */
  readonly count: number;
}

/** Gives the fields as constants. */
export class ConstantFields implements Fields {
  constructor(readonly values: FieldValues) {}

  record(): I32 {
    throw new Error("Compiled code has no record");
  }
  operand(n: number): I32 {
    return i32(this.values.operands[n] ?? 0);
  }
  imm(): I64 {
    return i64(this.values.imm);
  }
  disp(): I64 {
    return i64(this.values.disp);
  }
  link(): I32 {
    return i32(this.values.disp);
  }
  site(): I32 {
    return i32(this.values.site);
  }
  length(): I32 {
    return i32(this.values.length);
  }
  count(): I32 {
    return i32(this.values.count);
  }
}

/** The values of a record's fields in memory 0. */
export function readFields(state: DataView, record: number): FieldValues {
  const operand = (n: number) =>
    state.getInt32(record + REC_OPERAND + 4 * n, true);
  const low = state.getInt32(record + REC_IMM, true);
  const high = state.getInt32(record + REC_IMM + 4, true);
  return {
    operands: [operand(0), operand(1), operand(2)],
    imm: high === low >> 31 ? low : BigInt(high) << 32n | BigInt(low >>> 0),
    disp: state.getInt32(record + REC_DISP, true),
    site: state.getUint16(record + REC_SITE, true),
    length: state.getUint8(record + REC_LENGTH),
    count: state.getUint8(record + REC_COUNT),
  };
}
