// The shape of a handler: what is fixed when a form is emitted, besides the form.
// Only the axes that a form names tell two of its handlers apart.

/** A size in bits that code, addresses or the stack can have. */
export type ModeSize = 16 | 32 | 64;

/** What one emission of a form may rely on. */
export interface Shape {
  /**
   * The memory operand: `none` where there is none (a register, where the form
   * allows both), `base` for base + displacement without segmentation, `ea` where
   * an effective-address record ran before and left the linear address in `EA`.
   */
  readonly memory: "none" | "base" | "ea";
  /** Address size of the instruction. */
  readonly address: ModeSize;
  /** Default operation size of the code segment; 64 for 64-bit mode. */
  readonly code: ModeSize;
  /** Size of the stack pointer. */
  readonly stack: ModeSize;
  /** 64-bit mode, or CS DS ES SS all have base 0 and limit 4 GiB. */
  readonly flat: boolean;
  /** LOCK prefix. */
  readonly lock: boolean;
  /** REP prefix of a string instruction. */
  readonly rep: "none" | "repe" | "repne";
}

/** The parts of a shape that a form can depend on, besides its memory operand. */
export type Axis = "address" | "code" | "stack" | "flat" | "rep";

/** The shape that a form without axes is emitted in. */
export const PLAIN: Shape = {
  memory: "none",
  address: 64,
  code: 64,
  stack: 64,
  flat: true,
  lock: false,
  rep: "none",
};

/** `shape` with every axis that the form does not depend on set to the plain one. */
export function reduceShape(shape: Shape, axes: readonly Axis[]): Shape {
  const { memory, lock } = shape;
  let { address, code, stack, flat, rep } = PLAIN;
  if (memory === "base") address = shape.address;
  for (let n = 0; n < axes.length; n++) {
    const axis = axes[n];
    if (axis === "address") address = shape.address;
    else if (axis === "code") code = shape.code;
    else if (axis === "stack") stack = shape.stack;
    else if (axis === "flat") flat = shape.flat;
    else rep = shape.rep;
  }
  const isSame = address === shape.address && code === shape.code &&
    stack === shape.stack && flat === shape.flat && rep === shape.rep;
  return isSame ? shape : { memory, address, code, stack, flat, lock, rep };
}

/** A key that tells shapes apart. */
export function shapeKey(s: Shape): string {
  return `${s.memory}:${s.address}:${s.code}:${s.stack}:${+s.flat}:${+s
    .lock}:${s.rep}`;
}

const MEMORY_NUMBER = { none: 0, base: 1, ea: 2 } as const;
const REP_NUMBER = { none: 0, repe: 1, repne: 2 } as const;

/** A number that tells shapes apart, for a fast look-up. */
export function shapeNumber(s: Shape): number {
  return MEMORY_NUMBER[s.memory] | REP_NUMBER[s.rep] << 2 |
    Number(s.flat) << 4 | Number(s.lock) << 5 |
    // 16, 32 and 64 differ in two bits above the low four.
    (s.address >> 5) << 6 | (s.code >> 5) << 8 | (s.stack >> 5) << 10;
}
