import { Mailbox } from "../../bhyve/mailbox.ts";
(globalThis as any).postMessage = (m: unknown) => { console.log(JSON.stringify(m)); Deno.exit(0); };
await import("../../bhyve/worker.ts");
const [directory, ...words] = Deno.args;
const mb = Mailbox.create();
(globalThis as any).onmessage({ data: { plan: { memory: 512<<20, kernel: `${directory}/vmlinuz`, initrd: `${directory}/initrd.img`, commandLine: ["console=ttyS0", ...words].join(" ")}, mailbox: mb.buffer } });
