// The other side of a serial line in tests: a thread that never returns to its event
// loop, as the machine's.

import { ChannelBackend } from "./char_channel.ts";

/** What the thread is to do. */
export interface ChannelJob {
  readonly buffer: SharedArrayBuffer;
  /** `echo`: sends back what comes, up to a zero; else how many bytes it sends */
  readonly job: "echo" | number;
  /** the word that it waits on */
  readonly wake: SharedArrayBuffer;
}

const WAIT_MS = 10_000;

function pollAndWait(
  wake: Int32Array,
  backend: ChannelBackend,
  isDone = () => false,
): void {
  const mark = Atomics.load(wake, 0);
  backend.poll();
  if (!isDone()) Atomics.wait(wake, 0, mark, WAIT_MS);
}

function sendAll(backend: ChannelBackend, wake: Int32Array, count: number) {
  for (let n = 0; n < count;) {
    const room = Math.min(backend.room(), count - n);
    for (let i = 0; i < room; i++) backend.write(n++ & 0xff);
    // the last few bytes of room are not waited for, as a UART does not
    if (backend.room() < 16 && n < count) pollAndWait(wake, backend);
  }
}

function echo(backend: ChannelBackend, wake: Int32Array) {
  let isDone = false;
  backend.onInput({
    offer(bytes) {
      const taken = bytes.subarray(0, backend.room());
      for (const byte of taken) backend.write(byte);
      isDone ||= taken.includes(0);
      return taken.length;
    },
    drained: () => backend.ready(),
  });
  while (!isDone) {
    backend.room();
    pollAndWait(wake, backend, () => isDone);
  }
}

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<ChannelJob>) => void) | null;
  postMessage(message: string): void;
};
scope.onmessage = (event) => {
  const { buffer, job, wake } = event.data;
  const backend = new ChannelBackend(buffer);
  const words = new Int32Array(wake);
  if (job === "echo") echo(backend, words);
  else sendAll(backend, words, job);
  scope.postMessage("done");
};
