// `deno task demo`: fetches a Linux guest from Debian packages and boots it to a
// shell on this terminal. Ctrl-A x ends the machine at once.

import { Mailbox, REQUEST } from "./bhyve/mailbox.ts";
import type { EndMessage, MachinePlan, StartMessage } from "./bhyve/worker.ts";
import { linuxGuest } from "./tests/guests/linux.ts";

const CTRL_A = 1;
const EXIT_KEY = "x".charCodeAt(0);
const STATUS_BY_REASON: Readonly<Record<number, number>> = {
  1: 0,
  2: 1,
  3: 2,
  4: 3,
};
const ERROR_STATUS = 4;

function say(message: string): void {
  console.error(`demo: ${message}`);
}

// Sends the terminal's bytes to the guest; Ctrl-A x ends, Ctrl-A Ctrl-A is Ctrl-A.
async function forwardInput(mailbox: Mailbox): Promise<void> {
  let isPrefixed = false;
  for await (const bytes of Deno.stdin.readable) {
    const out: number[] = [];
    for (const byte of bytes) {
      if (isPrefixed && byte === EXIT_KEY) {
        mailbox.request(REQUEST.STOP);
        return;
      }
      if (!isPrefixed && byte === CTRL_A) {
        isPrefixed = true;
        continue;
      }
      isPrefixed = false;
      out.push(byte);
    }
    let rest = new Uint8Array(out);
    while (rest.length > 0) {
      rest = rest.subarray(mailbox.send(rest));
      if (rest.length > 0) await new Promise((go) => setTimeout(go, 10));
    }
  }
}

function runMachine(plan: MachinePlan, mailbox: Mailbox): Promise<EndMessage> {
  const worker = new Worker(new URL("./bhyve/worker.ts", import.meta.url), {
    type: "module",
  });
  return new Promise((resolve) => {
    worker.onmessage = (event: MessageEvent<EndMessage>) => {
      worker.terminate();
      resolve(event.data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      resolve({ error: event.message });
    };
    const message: StartMessage = { plan, mailbox: mailbox.buffer };
    worker.postMessage(message);
  });
}

async function main(): Promise<number> {
  const guest = await linuxGuest(undefined, (message) => say(`${message} ...`));
  const mailbox = Mailbox.create();
  const isTerminal = Deno.stdin.isTerminal();
  say("booting Linux; Ctrl-A x ends the machine");
  if (isTerminal) Deno.stdin.setRaw(true);
  Deno.addSignalListener(
    "SIGTERM",
    () => mailbox.request(REQUEST.POWER_BUTTON),
  );
  void forwardInput(mailbox);
  const words = Deno.args.join(" ");
  const end = await runMachine({
    memory: 512 << 20,
    kernel: guest.kernel,
    initrd: guest.initrd,
    commandLine: `console=ttyS0 ${words}`.trim(),
  }, mailbox);
  if (isTerminal) Deno.stdin.setRaw(false);
  if ("error" in end) {
    say(end.error);
    return ERROR_STATUS;
  }
  return STATUS_BY_REASON[end.how] ?? ERROR_STATUS;
}

Deno.exit(await main());
