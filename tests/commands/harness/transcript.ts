// What a stream of a child printed: all of it, and how much of that was looked at. The
// stream is read all the time, so that the child never waits for its reader.

const TAIL = 4000;

/** Text of a stream. */
export class Transcript {
  #text = "";
  #at = 0;
  #isDone = false;
  #change = Promise.withResolvers<void>();
  readonly #end: Promise<void>;

  /** Reads a stream. */
  constructor(stream: ReadableStream<Uint8Array>) {
    this.#end = this.#read(stream);
  }

  /** all that came so far */
  get text(): string {
    return this.#text;
  }

  /** the last of it, for messages */
  get tail(): string {
    return this.#text.slice(-TAIL);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder("latin1");
    for await (const bytes of stream) {
      this.#text += decoder.decode(bytes);
      this.#changed();
    }
    this.#isDone = true;
    this.#changed();
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  /**
   * Moves behind the next `text`.
   *
   * @returns what came before it; undefined where the stream ended without it
   */
  async readTo(text: string): Promise<string | undefined> {
    let from = this.#at;
    for (;;) {
      const found = this.#text.indexOf(text, from);
      if (found >= 0) {
        const before = this.#text.slice(this.#at, found);
        this.#at = found + text.length;
        return before;
      }
      if (this.#isDone) return undefined;
      from = Math.max(this.#at, this.#text.length - text.length + 1);
      await this.#change.promise;
    }
  }

  /** All that comes until the stream's end. */
  async rest(): Promise<string> {
    await this.#end;
    const rest = this.#text.slice(this.#at);
    this.#at = this.#text.length;
    return rest;
  }
}
