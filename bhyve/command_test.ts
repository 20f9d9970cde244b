// The command bhyve whole, in this process: real machines with a kernel of a few bytes,
// their console, how they end, and what is left in the vmm root.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { bhyveload } from "../bhyveload/command.ts";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import { VmmRoot } from "../vmm/root/root.ts";
import {
  vmActiveCpus,
  vmClose,
  vmDestroy,
  vmGetTopology,
  vmOpen,
  vmReadGpa,
  vmRtcRead,
  vmRtcWrite,
  vmSuspend,
} from "../vmm/vmmapi.ts";
import { consoleKernel, FLOOD } from "./_console_kernel.ts";
import { run } from "./command.ts";
import type { CommandHost, HandledSignal } from "./host.ts";
import { usage } from "./options.ts";
import { hasPty, Pty } from "./tty/_pty.ts";
import type { StandardStreams } from "./tty/stdio.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** Standard streams whose input is typed by the test when it saw enough. */
class Console implements StandardStreams {
  readonly isTerminal: boolean;
  output = "";
  writeMs = 0;
  #typed: string[] = [];
  #arrived = Promise.withResolvers<void>();
  #seen = Promise.withResolvers<void>();

  constructor(isTerminal = false) {
    this.isTerminal = isTerminal;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#typed.length === 0) await this.#arrived.promise;
    const bytes = encode(this.#typed.shift()!);
    buffer.set(bytes);
    return bytes.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (this.writeMs > 0) {
      await new Promise((go) => setTimeout(go, this.writeMs));
    }
    this.output += new TextDecoder("latin1").decode(bytes);
    this.#seen.resolve();
    return bytes.length;
  }

  setRaw(mode: boolean): void {
    this.output += mode ? "[raw]" : "[cooked]";
  }

  type(text: string): void {
    this.#typed.push(text);
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers<void>();
  }

  /** Waits until the output ends with a text. */
  async sees(text: string): Promise<void> {
    while (!this.output.endsWith(text)) {
      await this.#seen.promise;
      this.#seen = Promise.withResolvers<void>();
    }
  }
}

class TestHost implements CommandHost {
  readonly lines: string[] = [];
  readonly errors: string[] = [];
  readonly signals = new Map<HandledSignal, () => void>();
  constructor(readonly root: VmmRoot, readonly streams = new Console()) {}
  out(line: string) {
    this.lines.push(line);
  }
  err(line: string) {
    this.errors.push(line);
  }
  readFile(): string {
    throw new Error("No such file or directory");
  }
  hostname() {
    return "host";
  }
  onSignal(signal: HandledSignal, handle: () => void) {
    this.signals.set(signal, handle);
    return () => {
      this.signals.delete(signal);
    };
  }
  lowerCompilers() {}
  // The tests themselves need what would be given up.
  enterSandbox() {}
}

interface Stage {
  readonly host: TestHost;
  readonly console: Console;
  readonly kernel: string;
  /** the options of a machine with its console on standard streams */
  readonly machine: readonly string[];
}

async function onStage(
  test: (stage: Stage) => Promise<void>,
  isTerminal = false,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "bhyve-" });
  const kernel = `${directory}/kernel`;
  await Deno.writeFile(kernel, consoleKernel());
  const console = new Console(isTerminal);
  const host = new TestHost(new VmmRoot(`${directory}/vmm`), console);
  const machine = [
    ...["-m", "32M", "-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio"],
    ...["-o", `loader.kernel=${kernel}`],
  ];
  try {
    await test({ host, console, kernel, machine });
    assertEquals(host.signals.size, 0);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

// --- Machines ----------------------------------------------------------------

const ENDS: Record<string, number> = { r: 0, p: 1, h: 2, t: 3 };

for (const [key, status] of Object.entries(ENDS)) {
  Deno.test(`run() ends with ${status} at ${key}, and the machine rests`, () =>
    onStage(async ({ host, console, machine }) => {
      const running = run([...machine, "vm"], host);
      await console.sees("*");
      console.type("abc");
      await console.sees("abc");
      console.type(key);
      assertEquals(await running, status);
      assertEquals(host.root.list(), ["vm"]);
      assertEquals([host.lines, host.errors], [[], []]);
    }));
}

Deno.test("run() in monitor mode starts again at a reset, and leaves nothing", () =>
  onStage(async ({ host, console, machine }) => {
    const running = run([...machine, "-M", "-c", "2", "vm"], host);
    await console.sees("*");
    assertEquals(host.root.list(), ["vm"]);
    console.type("r");
    await console.sees("**");
    console.type("xr");
    await console.sees("**x*");
    console.type("p");
    assertEquals(await running, 1);
    assertEquals(host.root.list(), []);
    assertEquals([...Deno.readDirSync(host.root.paths.runtime)], []);
  }));

Deno.test("run() destroys a machine that powered off with -D", () =>
  onStage(async ({ host, console, machine }) => {
    console.type("p");
    assertEquals(await run([...machine, "-D", "vm"], host), 1);
    assertEquals(host.root.list(), []);
  }));

Deno.test("run() holds a guest back whose console is slow, and loses nothing", () =>
  onStage(async ({ host, console, machine }) => {
    console.writeMs = 20;
    console.type("f");
    const running = run([...machine, "vm"], host);
    await console.sees("!");
    console.type("h");
    assertEquals(await running, 2);
    assertEquals(console.output, `*${".".repeat(FLOOD)}!`);
  }));

Deno.test("run() brings out what a machine said last", () =>
  onStage(async ({ host, console, machine }) => {
    console.writeMs = 50;
    console.type("abch");
    assertEquals(await run([...machine, "vm"], host), 2);
    assertEquals(console.output, "*abc");
  }));

Deno.test("run() presses the power button at SIGTERM", () =>
  onStage(async ({ host, console, machine }) => {
    const running = run([...machine, "vm"], host);
    await console.sees("*");
    host.signals.get("SIGTERM")!();
    await console.sees("*B");
    host.signals.get("SIGTERM")!();
    await console.sees("*BB");
    host.signals.get("SIGINT")!();
    assertEquals(await running, 130);
    assertEquals(host.root.list(), ["vm"]);
  }));

Deno.test("run() ends a machine that hears nothing, at Ctrl-A x", () =>
  onStage(async ({ host, console, machine }) => {
    const running = run([...machine, "-M", "vm"], host);
    await console.sees("*");
    console.type("s\x01x");
    assertEquals(await running, 1);
    assertEquals(console.output, "[raw]*[cooked]");
    assertEquals(host.errors, [
      "bhyve: Ctrl-A x ends the machine, Ctrl-A h shows all keys",
    ]);
  }, true));

Deno.test("run() leaves the clock's memory as the run left it", () =>
  onStage(async ({ host, console, machine }) => {
    const running = run([...machine, "vm"], host);
    await console.sees("*");
    const ctx = await vmOpen("vm", host.root);
    await vmRtcWrite(ctx, 0x40, 0xa5);
    console.type("p");
    assertEquals(await running, 1);
    assertEquals(await vmRtcRead(ctx, 0x40), 0xa5);
    await vmClose(ctx);
  }));

Deno.test("run() answers requests, and ends where the machine is destroyed", () =>
  onStage(async ({ host, console, machine }) => {
    const running = run([...machine, "-c", "2", "vm"], host);
    await console.sees("*");
    const ctx = await vmOpen("vm", host.root);
    assertEquals(await vmActiveCpus(ctx), [0, 1]);
    assertEquals((await vmGetTopology(ctx)).sockets, 2);
    const code = await vmReadGpa(ctx, 0x10_0000n, 4);
    assertEquals([...code], [0x02, 0xb0, 0xad, 0x1b]);
    await vmDestroy(ctx);
    assertEquals(await running, 4);
    assertEquals(host.root.list(), []);
  }));

Deno.test("run() carries several lines, one of them on a socket", () =>
  onStage(async ({ host, console, machine }) => {
    const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = free.addr;
    free.close();
    const options = ["-l", "com1,tcp=127.0.0.1:" + port, "-l", "com2,stdio"];
    const running = run([...machine, ...options, "vm"], host);
    const client = await connect(port);
    assertEquals(await client.echoes("x"), true);
    assertEquals(await client.echoes("h"), false);
    assertEquals(await running, 2);
    assertEquals(console.output, "");
    client.close();
  }));

async function connect(port: number) {
  for (;;) {
    try {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      return {
        /** Sends a letter; answers whether it came back before the end. */
        async echoes(letter: string): Promise<boolean> {
          await connection.write(encode(letter));
          const buffer = new Uint8Array(10);
          for (;;) {
            const count = await connection.read(buffer);
            if (count === null) return false;
            const text = new TextDecoder().decode(buffer.subarray(0, count));
            if (text.includes(letter)) return true;
          }
        },
        close: () => connection.close(),
      };
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      await new Promise((go) => setTimeout(go, 20));
    }
  }
}

Deno.test({
  name: "run() carries a line on a terminal",
  ignore: !hasPty,
  fn: () =>
    onStage(async ({ host, machine }) => {
      const pty = new Pty();
      const line = ["-l", `com1,${pty.path}`];
      const running = run([...machine, ...line, "vm"], host);
      assertEquals(await pty.read(), "*");
      pty.type("\x03");
      assertEquals(await pty.read(), "\x03");
      pty.type("p");
      assertEquals(await running, 1);
      pty.close();
    }),
});

Deno.test("run() does not run a machine that was switched off at rest", () =>
  onStage(async ({ host, kernel }) => {
    const load = ["-m", "32M", "--kernel", kernel, "vm"];
    const io = { out: () => {}, err: () => {}, root: () => host.root };
    assertEquals(await bhyveload(load, io), 0);
    const ctx = await vmOpen("vm", host.root);
    await vmSuspend(ctx, SUSPEND.POWEROFF);
    await vmClose(ctx);
    assertEquals(await run(["-m", "32M", "vm"], host), 1);
    assertEquals(host.root.list(), ["vm"]);
  }));

Deno.test("run() boots what bhyveload left, again and again", () =>
  onStage(async ({ host, console, kernel }) => {
    const load = ["-m", "32M", "--kernel", kernel, "vm"];
    const io = { out: () => {}, err: () => {}, root: () => host.root };
    assertEquals(await bhyveload(load, io), 0);
    const options = ["-m", "32M", "-s", "31,lpc", "-l", "com1,stdio", "vm"];
    const first = run(options, host);
    await console.sees("*");
    host.signals.get("SIGHUP")!();
    assertEquals(await first, 129);
    const second = run(options, host);
    await console.sees("**");
    host.signals.get("SIGHUP")!();
    assertEquals(await second, 129);
  }));

// --- Refusals ----------------------------------------------------------------

Deno.test("run() says what it is asked to say", () =>
  onStage(async ({ host }) => {
    assertEquals(await run(["-h"], host), 0);
    assertEquals(host.errors, usage());
    assertEquals(await run(["-l", "help"], host), 0);
    assertStringIncludes(host.lines.join(), "com1");
    assertEquals(await run([], host), 1);
    assertEquals(await run(["-m", "x", "vm"], host), 64);
  }));

const REFUSED: readonly (readonly [string[], string])[] = [
  [["-s", "3,virtio-net,tap0"], 'device "virtio-net" is not supported yet'],
  [["-s", "3,virtio-blk,/nonexistent"], "/nonexistent"],
  [["-s", "3,virtio-blk,/etc,ro"], "Is a directory"],
  [["-l", "com2,/nonexistent"], "Cannot open lpc.com2.path=/nonexistent"],
  [["-l", "com2,stdio"], "lpc.com1.path has it already"],
  [["-c", "17"], "17 vCPUs requested but only 16 available"],
  [["-U", "x"], 'Cannot use UUID "x"'],
  [["-o", "loader.initrd=/nonexistent"], "loader.initrd=/nonexistent"],
  [["-o", "loader.kernel=/etc/passwd"], "it is a text file"],
  [["-m", "1M"], "memory"],
  [["-o", "x86.x2apic=perhaps"], "x86.x2apic"],
  [["-o", "monitor=perhaps"], "monitor"],
  [["-k", "/nonexistent"], "Failed to open configuration file /nonexistent"],
];

for (const [options, message] of REFUSED) {
  Deno.test(`run() refuses ${options.join(" ")}, and leaves nothing`, () =>
    onStage(async ({ host, machine, console }) => {
      assertEquals(await run([...machine, ...options, "vm"], host), 4);
      assertEquals(host.errors.length, 1);
      assert(host.errors[0]!.startsWith("bhyve: "));
      assertStringIncludes(host.errors[0]!, message);
      assertEquals([host.root.list(), console.output], [[], ""]);
    }));
}
