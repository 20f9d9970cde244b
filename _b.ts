import { benchThreads } from "./bench/threads/_tmp.ts";
await benchThreads();
