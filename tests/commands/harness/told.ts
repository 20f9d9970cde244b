// What a bare kernel told on its console: lines of a name and a number or text.

/** Lines by name. */
export class Told {
  readonly #lines: ReadonlyMap<string, readonly string[]>;

  /** @param lines values by name, in order */
  constructor(lines: ReadonlyMap<string, readonly string[]>) {
    this.#lines = lines;
  }

  /** Every text of a name. */
  texts(name: string): readonly string[] {
    return this.#lines.get(name) ?? [];
  }

  /** Every number of a name. */
  numbers(name: string): number[] {
    return this.texts(name).map((text) => {
      const value = BigInt(text);
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw new RangeError(`Cannot hold ${name} ${text} exactly`);
      }
      return Number(value);
    });
  }

  /** The one number of a name. @throws {Error} for none or several */
  number(name: string): number {
    const [value, ...more] = this.numbers(name);
    if (value === undefined || more.length > 0) {
      throw new Error(`Cannot find one ${name}: ${this.texts(name).join()}`);
    }
    return value;
  }
}

/** Reads a console's text. */
export function toldBy(text: string): Told {
  const lines = new Map<string, string[]>();
  for (const line of text.replaceAll("\r", "").split("\n")) {
    const [name = "", ...rest] = line.split(" ");
    const values = lines.get(name) ?? [];
    values.push(rest.join(" "));
    lines.set(name, values);
  }
  return new Told(lines);
}

/** The kernels' checksum: FNV-1a, 32 bits. */
export function checksum(bytes: Uint8Array): number {
  return bytes.reduce(
    (hash, byte) => Math.imul(hash ^ byte, 0x0100_0193) >>> 0,
    0x811c_9dc5,
  );
}
