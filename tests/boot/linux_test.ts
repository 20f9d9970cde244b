// Debian's cloud kernel on the whole machine, driven as a person would: over its
// console, through `demo.ts`.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { linuxGuest } from "../guests/linux.ts";

const DEMO = new URL("../../demo.ts", import.meta.url).pathname;
const LIMIT_MS = 240_000;
const PROMPT = "/ # ";

/** A guest's console as a child process. */
class ConsoleSession {
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #limit: ReturnType<typeof setTimeout>;
  #text = "";

  constructor(words: readonly string[] = []) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", DEMO, ...words],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#reader = this.#child.stdout.getReader();
    this.#writer = this.#child.stdin.getWriter();
    this.#limit = setTimeout(() => this.#child.kill("SIGKILL"), LIMIT_MS);
  }

  /** Reads up to and with `text`; answers what came before it. */
  async expect(text: string): Promise<string> {
    for (;;) {
      const at = this.#text.indexOf(text);
      if (at >= 0) {
        const before = this.#text.slice(0, at);
        this.#text = this.#text.slice(at + text.length);
        return before;
      }
      const { done, value } = await this.#reader.read();
      if (done) {
        throw new Error(`The console ended before "${text}":\n${this.#text}`);
      }
      this.#text += new TextDecoder("latin1").decode(value);
    }
  }

  /** Types a line. */
  async type(line: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
  }

  /** Types a command and answers what it printed. */
  async command(line: string): Promise<string> {
    await this.type(line);
    await this.expect("\n");
    return await this.expect(PROMPT);
  }

  /** Waits for the end; answers the exit status. */
  async end(): Promise<number> {
    while (!(await this.#reader.read()).done);
    const { code } = await this.#child.status;
    clearTimeout(this.#limit);
    await this.#writer.close().catch(() => {});
    return code;
  }
}

Deno.test("Debian's cloud kernel boots to a shell, answers, and powers off", async () => {
  // Fetched here, so that the machine's time limit does not count the network.
  await linuxGuest();
  const console = new ConsoleSession();
  await console.expect("GUEST-UP");
  await console.expect(PROMPT);
  assertStringIncludes(await console.command("uname -sm"), "Linux x86_64");
  assertStringIncludes(
    await console.command("echo $((6 * 7)) | md5sum"),
    "50a2fabfdd276f573ff97ace8b11c5f4",
  );
  assertStringIncludes(
    await console.command("grep -c hypervisor /proc/cpuinfo"),
    "1",
  );
  await console.type("poweroff -f");
  assertEquals(await console.end(), 1);
});
