import { askClock, createClockSync } from "./bhyve/clock_sync.ts";
const bufs = Array.from({length: 12}, () => createClockSync());
const w = new Worker(new URL("./_cs_w.ts", import.meta.url), { type: "module" });
w.postMessage(bufs);
for (const b of bufs) { const t = performance.now(); const r = askClock(b, () => performance.now() * 1e6); console.log(r.offset.toFixed(0), "err", r.error.toFixed(0), "ms", (performance.now() - t).toFixed(1)); }
w.terminate();
