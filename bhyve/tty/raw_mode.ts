// Raw mode of a terminal, which outlives the process that set it: whatever ends the
// process, short of SIGKILL, the terminal gets its mode back.

/** What has a mode. */
export interface RawTerminal {
  /** Switches raw mode. */
  setRaw(mode: boolean): void;
}

/** A terminal in raw mode until it is restored, or until the process exits. */
export class RawMode {
  readonly #terminal: RawTerminal;
  #isRaw = true;
  readonly #restore = () => this.restore();

  /** Puts a terminal into raw mode. @throws {Error} where it has none */
  constructor(terminal: RawTerminal) {
    terminal.setRaw(true);
    this.#terminal = terminal;
    addEventListener("unload", this.#restore);
  }

  /** Puts it back; once is enough. */
  restore(): void {
    if (!this.#isRaw) return;
    this.#isRaw = false;
    removeEventListener("unload", this.#restore);
    try {
      this.#terminal.setRaw(false);
    } catch {
      // The terminal went away, and its mode with it.
    }
  }
}
