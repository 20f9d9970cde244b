// A serial line between threads: nothing lost, nobody blocked, no line ends needed.

import { assert, assertEquals } from "@std/assert";
import type { ChannelJob } from "./_channel_worker.ts";
import { ByteRing } from "./byte_ring.ts";
import { ChannelBackend, HostChannel } from "./char_channel.ts";

function setup(job: ChannelJob["job"]) {
  const wake = new SharedArrayBuffer(4);
  const words = new Int32Array(wake);
  const channel = new HostChannel(() => {
    Atomics.add(words, 0, 1);
    Atomics.notify(words, 0);
  });
  const worker = new Worker(new URL("_channel_worker.ts", import.meta.url), {
    type: "module",
  });
  const done = new Promise<void>((resolve) => {
    worker.onmessage = () => {
      channel.end();
      worker.terminate();
      resolve();
    };
  });
  const message: ChannelJob = { buffer: channel.buffer, job, wake };
  worker.postMessage(message);
  return { channel, done };
}

async function readAll(channel: HostChannel): Promise<number[]> {
  const all: number[] = [];
  for (;;) {
    const bytes = await channel.read();
    if (bytes === undefined) return all;
    all.push(...bytes);
  }
}

Deno.test("ByteRing keeps order across its end and the wrap of its counts", () => {
  const words = new Int32Array(2).fill(-3);
  const ring = new ByteRing(words, 0, new Uint8Array(8));
  for (let n = 0; n < 10; n++) {
    assertEquals(ring.write(new Uint8Array([n, 1, 2, 3, 4])), 5);
    assert(ring.put(5));
    assertEquals(ring.write(new Uint8Array([6, 7, 8])), 2);
    assertEquals([ring.put(9), ring.room], [false, 0]);
    assertEquals([...ring.peek()], [n, 1, 2, 3, 4, 5, 6, 7]);
    ring.drop(3);
    assertEquals([...ring.peek()], [3, 4, 5, 6, 7]);
    ring.drop(5);
  }
});

Deno.test("HostChannel gets a thread's output through a ring it fills often", async () => {
  const count = 1_000_000;
  const { channel, done } = setup(count);
  const all = await readAll(channel);
  await done;
  assertEquals(all.length, count);
  assert(all.every((byte, n) => byte === (n & 0xff)));
});

Deno.test("HostChannel sends more than the machine takes at once", async () => {
  const { channel, done } = setup("echo");
  const sent = new Uint8Array(300_000).map((_, n) => n % 255 + 1);
  const output = readAll(channel);
  assert(await channel.send(sent));
  assert(await channel.send(new Uint8Array(1)));
  await done;
  assertEquals(Uint8Array.from(await output), new Uint8Array([...sent, 0]));
});

Deno.test("HostChannel gives single bytes at once", async () => {
  const { channel, done } = setup("echo");
  const took: number[] = [];
  for (let n = 1; n <= 20; n++) {
    const start = performance.now();
    await channel.send(new Uint8Array([n]));
    assertEquals([...await channel.read() ?? []], [n]);
    took.push(performance.now() - start);
  }
  await channel.send(new Uint8Array(1));
  await done;
  // the first round trip waits for the thread to start; a busy host may spoil some
  assert(Math.min(...took.slice(1)) < 50, `${took}`);
});

Deno.test("HostChannel stops waiting when the machine ends", async () => {
  const channel = new HostChannel(() => {});
  const sending = channel.send(new Uint8Array(10_000));
  const reading = channel.read();
  setTimeout(() => channel.end(), 10);
  assertEquals(await sending, false);
  assertEquals(await reading, undefined);
});

Deno.test("ChannelBackend tells of room once the host took output", async () => {
  let wakes = 0;
  const channel = new HostChannel(() => wakes++);
  const backend = new ChannelBackend(channel.buffer);
  let drained = 0;
  backend.onInput({ offer: (bytes) => bytes.length, drained: () => drained++ });
  while (backend.room() >= 16) backend.write(1);
  backend.poll();
  assertEquals([wakes, drained], [0, 0]);
  const output = await channel.read();
  assertEquals(wakes, 1);
  backend.poll();
  backend.poll();
  assertEquals([drained, output?.length], [1, 65536 - 15]);
});

Deno.test("ChannelBackend offers refused input again when the sink is ready", async () => {
  const channel = new HostChannel(() => {});
  const backend = new ChannelBackend(channel.buffer);
  const offers: number[] = [];
  let room = 2;
  backend.onInput({
    offer(bytes) {
      offers.push(bytes.length);
      return Math.min(bytes.length, room);
    },
  });
  await channel.send(new Uint8Array(5));
  backend.poll();
  backend.poll();
  assertEquals(offers, [5]);
  room = 10;
  backend.ready();
  backend.poll();
  assertEquals(offers, [5, 3]);
});
