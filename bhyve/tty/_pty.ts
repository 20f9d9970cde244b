// A pseudo-terminal for tests: Deno has none, the C library does.

const O_RDWR = 2;
const O_NOCTTY = 0o400;

/** Whether the C library's calls are known here. */
export const hasPty = Deno.build.os === "linux";

/** The master side of a pseudo-terminal. */
export class Pty {
  /** path of the other side */
  readonly path: string;
  readonly #libc = Deno.dlopen("libc.so.6", {
    posix_openpt: { parameters: ["i32"], result: "i32" },
    grantpt: { parameters: ["i32"], result: "i32" },
    unlockpt: { parameters: ["i32"], result: "i32" },
    ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" },
    read: {
      parameters: ["i32", "buffer", "usize"],
      result: "isize",
      nonblocking: true,
    },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });
  readonly #fd: number;

  constructor() {
    const { symbols } = this.#libc;
    this.#fd = symbols.posix_openpt(O_RDWR | O_NOCTTY);
    symbols.grantpt(this.#fd);
    symbols.unlockpt(this.#fd);
    const name = new Uint8Array(64);
    symbols.ptsname_r(this.#fd, name, BigInt(name.length));
    this.path = new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
  }

  /** Waits for what the other side wrote. */
  async read(): Promise<string> {
    const buffer = new Uint8Array(4096);
    const size = BigInt(buffer.length);
    const count = await this.#libc.symbols.read(this.#fd, buffer, size);
    return new TextDecoder().decode(buffer.subarray(0, Number(count)));
  }

  /** Types a text. */
  type(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.#libc.symbols.write(this.#fd, bytes, BigInt(bytes.length));
  }

  close(): void {
    this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }
}
