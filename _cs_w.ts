import { answerClock } from "./bhyve/clock_sync.ts";
(self as any).onmessage = (e: any) => { for (const b of e.data) answerClock(b, () => performance.now() * 1e6); (self as any).postMessage(1); };
