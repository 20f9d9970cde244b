// `deno task demo`: fetches a Linux guest from Debian packages, loads it with bhyveload
// and runs it with bhyve, to a shell on this terminal. Words are added to the kernel's
// command line. Ends with bhyve's status: 1 when the guest was powered off.

import { run } from "./bhyve/command.ts";
import { processHost } from "./bhyve/host.ts";
import { bhyveload } from "./bhyveload/command.ts";
import { linuxGuest } from "./tests/guests/linux.ts";
import { VmmRoot } from "./vmm/root/root.ts";

const NAME = "demo";
const MEMORY = "512M";

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`demo: ${text.trimEnd()}\n`));
}

async function demo(root: VmmRoot): Promise<number> {
  const { kernel, initrd } = await linuxGuest(
    undefined,
    (message) => say(`${message} ...`),
  );
  const line = ["console=ttyS0", ...Deno.args].join(" ");
  const status = await bhyveload(
    [
      ...["-m", MEMORY, "--kernel", kernel, "--initrd", initrd],
      ...["--append", line, NAME],
    ],
    { out: say, err: say, root: () => root },
  );
  if (status !== 0) return status;
  say("booting Linux: Ctrl-A x ends the machine, so does poweroff");
  return await run([
    ...["-H", "-m", MEMORY, "-s", "0,hostbridge", "-s", "3,virtio-rnd"],
    ...["-s", "31,lpc", "-l", "com1,stdio", NAME],
  ], processHost(root));
}

async function main(): Promise<number> {
  const directory = await Deno.makeTempDir({ prefix: "bhyve-demo-" });
  try {
    return await demo(new VmmRoot(`${directory}/vmm`));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main());
