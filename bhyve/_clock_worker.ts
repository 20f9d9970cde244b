// The thread whose time another asks for, in tests: its time is a million seconds ahead.

import { answerClock } from "./clock_sync.ts";

const AHEAD_NS = 1e15;
const NS_PER_MS = 1e6;

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<SharedArrayBuffer>) => void) | null;
  postMessage(origin: number): void;
};
scope.onmessage = (event) => {
  const now = () => performance.now() * NS_PER_MS + AHEAD_NS;
  answerClock(event.data, now);
  scope.postMessage(performance.timeOrigin);
};
