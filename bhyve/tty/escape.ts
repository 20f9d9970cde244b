// The way out of a terminal in raw mode: keys after Ctrl-A. Whatever is not one of them
// goes to the guest together with the Ctrl-A before it, so that a shell in the guest
// keeps its own use of Ctrl-A.

const PREFIX = 0x01;

/** What the keys are, for the operator. */
export const ESCAPE_HELP: readonly string[] = [
  "Ctrl-A x       ends the machine at once",
  "Ctrl-A Ctrl-A  sends Ctrl-A to the guest",
  "Ctrl-A h       shows these keys",
];

/** What the keys do. */
export interface EscapeActions {
  /** The machine is to end. */
  end(): void;
  /** The keys are to be shown. */
  help(): void;
}

/** Finds the keys in a stream of bytes. */
export class EscapeKeys {
  readonly #actions: ReadonlyMap<number, () => void>;
  #isPrefixed = false;

  /** @param actions called as soon as a key was seen */
  constructor(actions: EscapeActions) {
    const key = (character: string) => character.charCodeAt(0);
    this.#actions = new Map([
      [key("x"), () => actions.end()],
      [key("h"), () => actions.help()],
    ]);
  }

  /** Takes what was typed; answers what is for the guest. */
  feed(bytes: Uint8Array): Uint8Array {
    const out: number[] = [];
    for (const byte of bytes) this.#key(byte, out);
    return Uint8Array.from(out);
  }

  #key(byte: number, out: number[]): void {
    if (!this.#isPrefixed) {
      this.#isPrefixed = byte === PREFIX;
      if (!this.#isPrefixed) out.push(byte);
      return;
    }
    this.#isPrefixed = false;
    const action = this.#actions.get(byte);
    if (action !== undefined) return action();
    if (byte !== PREFIX) out.push(PREFIX);
    out.push(byte);
  }
}
