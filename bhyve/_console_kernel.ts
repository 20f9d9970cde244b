// A kernel for tests, as bytes: a multiboot image that echoes what comes on COM1 and
// does what some letters say. It switches ACPI on and polls its power button.
//
//   *  said at the start        h  halts               f  floods: FLOOD bytes and !
//   B  said at the button       r  resets              t  faults three times
//   p  powers off               s  waits: no more input is read

/** Dots that `f` brings. */
export const FLOOD = 300_000;

const BASE = 0x10_0000;
const STACK = 0x9_0000;

/** Instructions of 32-bit code, with jumps to labels. */
class Code {
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: [at: number, label: string][] = [];

  raw(...bytes: number[]): this {
    this.#bytes.push(...bytes);
    return this;
  }

  label(name: string): this {
    this.#labels.set(name, this.#bytes.length);
    return this;
  }

  #to(label: string, ...opcode: number[]): this {
    this.raw(...opcode);
    this.#jumps.push([this.#bytes.length, label]);
    return this.raw(0, 0, 0, 0);
  }

  jmp = (label: string) => this.#to(label, 0xe9);
  jz = (label: string) => this.#to(label, 0x0f, 0x84);
  jnz = (label: string) => this.#to(label, 0x0f, 0x85);
  call = (label: string) => this.#to(label, 0xe8);
  ret = () => this.raw(0xc3);
  /** mov dx, port; in al, dx */
  inByte = (port: number) => this.#port(port).raw(0xec);
  /** mov dx, port; mov al, value; out dx, al */
  outByte = (port: number, value: number) =>
    this.#port(port).raw(0xb0, value, 0xee);
  /** mov dx, port; mov ax, value; out dx, ax */
  outWord = (port: number, value: number) =>
    this.#port(port).raw(0x66, 0xb8, value & 0xff, value >> 8, 0x66, 0xef);
  testAl = (bits: number) => this.raw(0xa8, bits);

  #port(port: number): this {
    return this.raw(0x66, 0xba, port & 0xff, port >> 8);
  }

  /** mov bl, character; call put */
  say(character: string): this {
    return this.raw(0xb3, character.charCodeAt(0)).call("put");
  }

  /** cmp al, character; je label */
  on(character: string, label: string): this {
    return this.raw(0x3c, character.charCodeAt(0)).jz(label);
  }

  finish(): number[] {
    for (const [at, label] of this.#jumps) {
      const distance = this.#labels.get(label)! - (at + 4);
      for (let n = 0; n < 4; n++) {
        this.#bytes[at + n] = distance >> (8 * n) & 0xff;
      }
    }
    return this.#bytes;
  }
}

function dword(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => value >> shift & 0xff);
}

function program(): number[] {
  const code = new Code();
  code.raw(0xbc, ...dword(STACK)); // mov esp
  code.outByte(0xb2, 0xa0).say("*").jmp("loop");

  code.label("put").inByte(0x3fd).testAl(0x20).jz("put");
  code.raw(0x66, 0xba, 0xf8, 0x03, 0x88, 0xd8, 0xee).ret(); // out 3f8h, bl

  code.label("loop").inByte(0x401).testAl(1).jz("input");
  code.outByte(0x401, 1).say("B");
  code.label("input").inByte(0x3fd).testAl(1).jz("loop").inByte(0x3f8);
  code.on("h", "halt").on("r", "reset").on("p", "off").on("f", "flood");
  code.on("t", "fault").on("s", "stop");
  code.raw(0x88, 0xc3).call("put").jmp("loop"); // mov bl, al

  code.label("halt").raw(0xfa, 0xf4).jmp("halt"); // cli; hlt
  code.label("reset").outByte(0xcf9, 6).jmp("halt");
  code.label("off").outWord(0x404, 5 << 10 | 1 << 13).jmp("halt");
  code.label("fault").raw(0x0f, 0x0b); // ud2, without any descriptor table
  code.label("stop").jmp("stop");
  code.label("flood").raw(0xb9, ...dword(FLOOD)); // mov ecx
  code.label("more").say(".").raw(0x49).jnz("more"); // dec ecx
  return code.say("!").jmp("loop").finish();
}

/** The kernel's file. */
export function consoleKernel(): Uint8Array<ArrayBuffer> {
  const code = program();
  const [magic, flags, headerBytes] = [0x1bad_b002, 0x1_0000, 32];
  const end = BASE + headerBytes + code.length;
  const header = [magic, flags, -(magic + flags) | 0]
    .concat(BASE, BASE, end, end, BASE + headerBytes);
  return Uint8Array.from([...header.flatMap(dword), ...code]);
}
