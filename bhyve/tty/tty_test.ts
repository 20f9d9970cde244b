// TTY backends: keys, raw mode, sockets with one client, and what cannot be opened.

import { assertEquals, assertThrows } from "@std/assert";
import { ChannelBackend, HostChannel } from "../char_channel.ts";
import { hasPty, Pty } from "./_pty.ts";
import { DeviceTty } from "./device.ts";
import { EscapeKeys } from "./escape.ts";
import { openTty, parseTty, type Stdio } from "./open.ts";
import { type StandardStreams, StdioTty } from "./stdio.ts";
import { parseTcpAddress, TcpTty } from "./tcp.ts";
import { TtyError } from "./tty.ts";

const text = (bytes: Iterable<number>) =>
  new TextDecoder().decode(Uint8Array.from(bytes));
const bytes = (text: string) => new TextEncoder().encode(text);

/** A machine that answers every byte with the next one, and hears of none twice. */
class Guest {
  readonly got: number[] = [];
  readonly channel: HostChannel = new HostChannel(() => this.#backend.poll());
  readonly #backend = new ChannelBackend(this.channel.buffer);

  constructor() {
    this.#backend.onInput({
      offer: (bytes) => {
        this.got.push(...bytes);
        for (const byte of bytes) this.#backend.write(byte + 1);
        return bytes.length;
      },
    });
  }

  say(text: string): void {
    for (const byte of bytes(text)) this.#backend.write(byte);
  }
}

function keys() {
  const done: string[] = [];
  const escape = new EscapeKeys({
    end: () => done.push("end"),
    help: () => done.push("help"),
  });
  return { done, feed: (typed: string) => text(escape.feed(bytes(typed))) };
}

Deno.test("EscapeKeys finds its keys, also across reads", () => {
  const { done, feed } = keys();
  assertEquals(feed("ab\x01hc\x01"), "abc");
  assertEquals(done, ["help"]);
  assertEquals(feed("x"), "");
  assertEquals(done, ["help", "end"]);
});

Deno.test("EscapeKeys passes on what is no key of its own", () => {
  const { done, feed } = keys();
  assertEquals(feed("\x01\x01"), "\x01");
  assertEquals(feed("\x01ls\x01"), "\x01ls");
  assertEquals(feed("\x01x"), "\x01x");
  assertEquals(done, []);
});

class Streams implements StandardStreams {
  readonly modes: boolean[] = [];
  readonly written: number[] = [];
  constructor(readonly isTerminal: boolean, readonly typed: string[]) {}
  read(buffer: Uint8Array) {
    const next = this.typed.shift();
    if (next === undefined) return Promise.resolve(null);
    buffer.set(bytes(next));
    return Promise.resolve(next.length);
  }
  write(some: Uint8Array) {
    // a stream may take a part only
    this.written.push(...some.subarray(0, 3));
    return Promise.resolve(Math.min(3, some.length));
  }
  setRaw(mode: boolean) {
    this.modes.push(mode);
  }
}

function serveStdio(streams: Streams) {
  const said: string[] = [];
  const guest = new Guest();
  const tty = new StdioTty(streams, {
    end: () => guest.channel.end(),
    say: (line) => said.push(line),
  });
  guest.say("hello\n");
  const served = tty.serve(guest.channel);
  return { guest, said, served, tty };
}

Deno.test("StdioTty carries bytes as they are where stdin is no terminal", async () => {
  const streams = new Streams(false, ["a\x01x", "b"]);
  const { guest, said, served, tty } = serveStdio(streams);
  await new Promise((go) => setTimeout(go, 20));
  guest.channel.end();
  await served;
  tty.close();
  assertEquals(text(guest.got), "a\x01xb");
  assertEquals(text(streams.written), "hello\nb\x02yc");
  assertEquals([said, streams.modes], [[], []]);
});

Deno.test("StdioTty sets a terminal raw, says the keys, and puts it back", async () => {
  const full = "y".repeat(4095);
  const streams = new Streams(true, ["a\x01", full, "\x01x", "lost"]);
  const { guest, said, served, tty } = serveStdio(streams);
  await served;
  assertEquals(streams.modes, [true]);
  tty.close();
  tty.close();
  assertEquals(streams.modes, [true, false]);
  assertEquals(text(guest.got), `a\x01${full}`);
  assertEquals(said.length, 1);
});

Deno.test("StdioTty lets the guest go on when nobody reads", async () => {
  const streams = new Streams(false, []);
  streams.write = () => Promise.reject(new Deno.errors.BrokenPipe());
  const { guest, served } = serveStdio(streams);
  for (let n = 0; n < 100; n++) {
    guest.say("x".repeat(1000));
    await new Promise((go) => setTimeout(go, 0));
  }
  guest.channel.end();
  await served;
});

Deno.test("parseTcpAddress() reads names and IPv6 addresses", () => {
  const port = 99;
  assertEquals(parseTcpAddress("a.b:99"), { hostname: "a.b", port });
  assertEquals(parseTcpAddress("[::1]:99"), { hostname: "::1", port });
  for (const bad of ["", "99", ":99", "a:", "a:x", "::1:99", "a:65536"]) {
    assertEquals(parseTcpAddress(bad), undefined, bad);
  }
});

async function connect(port: number) {
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  const read = async (length: number) => {
    const buffer = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const count = await client.read(buffer.subarray(at));
      if (count === null) return text(buffer.subarray(0, at));
      at += count;
    }
    return text(buffer);
  };
  return { client, read };
}

Deno.test("TcpTty has one client at a time, and then another", async () => {
  const tty = new TcpTty({ hostname: "127.0.0.1", port: 0 });
  const guest = new Guest();
  const served = tty.serve(guest.channel);
  guest.say("nobody hears this");
  await new Promise((go) => setTimeout(go, 10));

  const first = await connect(tty.port);
  await first.client.write(bytes("abc"));
  assertEquals(await first.read(3), "bcd");
  const second = await connect(tty.port);
  assertEquals(await second.read(100), "Socket already connected\n");
  second.client.close();
  await first.client.write(bytes("x"));
  assertEquals(await first.read(1), "y");
  first.client.close();

  // the first one's end may not have been seen yet
  let third = await connect(tty.port);
  await third.client.write(bytes("1"));
  while (await third.read(1).catch(() => "") !== "2") {
    third.client.close();
    third = await connect(tty.port);
    await third.client.write(bytes("1"));
  }
  guest.say("end");
  guest.channel.end();
  await served;
  tty.close();
  assertEquals(await third.read(100), "end");
  third.client.close();
});

Deno.test({
  name: "DeviceTty is a terminal in raw mode while it is open",
  ignore: !hasPty,
  async fn() {
    const pty = new Pty();
    // keeps the pseudo-terminal's mode while nobody else has it open
    const own = Deno.openSync(pty.path, { read: true });
    const tty = new DeviceTty(pty.path);
    const guest = new Guest();
    const served = tty.serve(guest.channel);
    guest.say("ready");
    assertEquals(await pty.read(), "ready");
    pty.type("A\x03");
    assertEquals((await pty.read()).at(0), "B");
    guest.channel.end();
    await served;
    assertEquals(text(guest.got), "A\x03");
    tty.close();
    // cooked again: the terminal echoes
    pty.type("e");
    assertEquals((await pty.read()).at(-1), "e");
    pty.type("\n");
    own.close();
    pty.close();
  },
});

const STDIO: Stdio = {
  streams: new Streams(false, []),
  actions: { end() {}, say() {} },
};

Deno.test("openTty() says what is wrong with a backend", async () => {
  const open = (text: string) => openTty(parseTty(text), STDIO);
  const fails = (text: string, message: string) =>
    assertThrows(() => open(text), TtyError, message);
  const file = await Deno.makeTempFile();
  fails("/nonexistent/tty", "No such file or directory");
  fails(file, "not a terminal");
  fails("/dev/null", "not a terminal");
  fails("tcp=nowhere", "expected tcp=host:port or tcp=[v6]:port");
  const busy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  fails(`tcp=127.0.0.1:${busy.addr.port}`, "Address already in use");
  busy.close();
  await Deno.remove(file);
});
