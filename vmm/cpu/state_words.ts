// Memory 0, the processor's state that emitted code works on (see `state.ts`), as
// TypeScript reads and writes it: by address, in words of 32 and 64 bits.

/** The words of one processor's memory 0. */
export class StateWords {
  /** Memory 0 as bytes. */
  readonly view: DataView;
  readonly #words: Int32Array;

  constructor(memory: {
    readonly state: DataView;
    readonly words: Int32Array;
  }) {
    this.view = memory.state;
    this.#words = memory.words;
  }

  /** The 32-bit word at a multiple of 4, signed. */
  word(address: number): number {
    return this.#words[address >> 2]!;
  }

  /** Sets the 32-bit word at a multiple of 4. */
  setWord(address: number, value: number): void {
    this.#words[address >> 2] = value;
  }

  /** Sets the word at a multiple of 4 before anything that follows: what it was. */
  exchangeWord(address: number, value: number): number {
    return Atomics.exchange(this.#words, address >> 2, value);
  }

  /** The 64-bit word at an address, unsigned. */
  quad(address: number): bigint {
    return this.view.getBigUint64(address, true);
  }

  /** Sets the 64-bit word at an address, to a value modulo 2^64. */
  setQuad(address: number, value: bigint): void {
    this.view.setBigUint64(address, BigInt.asUintN(64, value), true);
  }
}
