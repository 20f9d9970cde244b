// A child process driven as a person would at a terminal: waits for text, types lines.
// Each has a time limit, which ends that child alone; what fails says what the child
// last printed.

import { Transcript } from "./transcript.ts";

/** What a session is started with. */
export interface SessionOptions {
  /** program and arguments */
  readonly argv: readonly [string, ...string[]];
  readonly cwd?: string;
  /** the whole environment */
  readonly env: Readonly<Record<string, string>>;
  /** milliseconds until the child is killed */
  readonly limit: number;
  /** what the other side's shell prints when it waits for a command */
  readonly prompt?: string;
}

/** How a child ended. */
export interface SessionEnd {
  readonly code: number;
  readonly signal: Deno.Signal | null;
  /** what was not read yet of its standard output */
  readonly out: string;
  /** all of its standard error */
  readonly err: string;
}

/** Something about a session was not as expected. */
export class SessionError extends Error {
  /** the class, for messages */
  override readonly name = "SessionError";
}

const SHELL_PROMPT = "/ # ";
const LINE_END = "\n";

/** A child process and its console. */
export class Session implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #options: SessionOptions;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #out: Transcript;
  readonly #err: Transcript;
  readonly #timer: ReturnType<typeof setTimeout>;
  #isLate = false;
  #hasEnded = false;

  /** Starts the child. */
  constructor(options: SessionOptions) {
    const [program, ...args] = options.argv;
    this.#options = options;
    this.#child = new Deno.Command(program, {
      args,
      env: { ...options.env },
      clearEnv: true,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#out = new Transcript(this.#child.stdout);
    this.#err = new Transcript(this.#child.stderr);
    this.#timer = setTimeout(() => this.#expire(), options.limit);
  }

  /** the child's process ID */
  get pid(): number {
    return this.#child.pid;
  }

  /** all that it printed so far */
  get transcript(): string {
    return this.#out.text;
  }

  /** all that it complained of so far */
  get complaints(): string {
    return this.#err.text;
  }

  #expire(): void {
    this.#isLate = true;
    this.kill("SIGKILL");
  }

  #error(what: string): SessionError {
    const late = this.#isLate
      ? ` within ${this.#options.limit / 1000} s, when it was killed`
      : "";
    const { argv } = this.#options;
    const err = this.#err.tail;
    return new SessionError(
      `${what}${late}\ncommand: ${argv.join(" ")}\n` +
        `standard error:\n${err}\nlast output:\n${this.#out.tail}`,
    );
  }

  /**
   * Reads up to and with `text`.
   *
   * @returns what came before it
   * @throws {SessionError} where the child ends without it
   */
  async expect(text: string): Promise<string> {
    const before = await this.#out.readTo(text);
    if (before === undefined) {
      throw this.#error(`The child ended without printing "${text}"`);
    }
    return before;
  }

  /** Types text as it is. */
  async send(text: string): Promise<void> {
    try {
      await this.#writer.write(new TextEncoder().encode(text));
    } catch (cause) {
      throw this.#error(`Cannot type "${text.trimEnd()}": ${cause}`);
    }
  }

  /** Types a line. */
  async type(line: string): Promise<void> {
    await this.send(`${line}${LINE_END}`);
  }

  /** Ends the child's input. */
  async hangUp(): Promise<void> {
    await this.#writer.close().catch(() => {});
  }

  /** Waits for the shell's prompt. */
  async prompt(): Promise<string> {
    return await this.expect(this.#options.prompt ?? SHELL_PROMPT);
  }

  /**
   * Types a command and waits for the next prompt.
   *
   * @returns what the command printed, without its echo
   */
  async command(line: string): Promise<string> {
    await this.type(line);
    await this.expect(LINE_END);
    return (await this.prompt()).replaceAll("\r", "");
  }

  /** Sends a signal, if the child still runs. */
  kill(signal: Deno.Signal): void {
    if (this.#hasEnded) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // It ended and was not waited for yet.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  /**
   * Waits for the child's end.
   *
   * @throws {SessionError} where it does not end by itself in time
   */
  async end(): Promise<SessionEnd> {
    const end = await this.#finish();
    if (this.#isLate) throw this.#error("The child did not end");
    return end;
  }

  /** Waits for the child's end. @throws {SessionError} for another status */
  async endsWith(code: number): Promise<SessionEnd> {
    const end = await this.end();
    if (end.signal === null && end.code === code) return end;
    const how = end.signal ?? `status ${end.code}`;
    throw this.#error(`The child ended with ${how}, expected status ${code}`);
  }

  async #finish(): Promise<SessionEnd> {
    const [{ code, signal }, out] = await Promise.all([
      this.#child.status,
      this.#out.rest(),
      this.#err.rest(),
    ]);
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    await this.hangUp();
    return { code, signal, out, err: this.#err.text };
  }

  /** Kills the child if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.#finish();
  }
}
