// `deno task demo`: fetches a Linux guest from Debian packages and boots it to a
// shell on this terminal. Ctrl-A x ends the machine at once.

import { HostChannel } from "./bhyve/char_channel.ts";
import { configValues, defaultUuid } from "./bhyve/machine_settings.ts";
import type { MachinePlan } from "./bhyve/plan.ts";
import { type MachineEnd, MachineThreads } from "./bhyve/threads.ts";
import { STANDARD_STREAMS, StdioTty } from "./bhyve/tty/stdio.ts";
import { GuestRam } from "./bhyve/guest_ram.ts";
import { linuxGuest } from "./tests/guests/linux.ts";
import { ConfigNode } from "./vmm/config.ts";
import { GuestMemory } from "./vmm/cpu/guest_memory.ts";
import { loadLinux } from "./vmm/loader/linux.ts";
import { applyStart } from "./vmm/loader/start.ts";
import { RestingVcpu } from "./vmm/root/resting_vcpu.ts";
import type { VcpuState } from "./vmm/root/state.ts";

const STATUS_BY_REASON: Readonly<Record<number, number>> = {
  1: 0,
  2: 1,
  3: 2,
  4: 3,
};
const ERROR_STATUS = 4;
const LOWMEM_LIMIT = 3 * 2 ** 30;
const HIGHMEM_BASE = 4 * 2 ** 30;
const MIB = 2 ** 20;

/** What the command line says: `[-c vcpus] [-m MiB] [kernel words]`. */
interface DemoOptions {
  readonly vcpus: number;
  readonly memory: number;
  readonly words: string;
}

function parse(args: readonly string[]): DemoOptions {
  const rest = [...args];
  let vcpus = 1;
  let memory = 512 * MIB;
  while (rest[0] === "-c" || rest[0] === "-m") {
    const [option, value] = rest.splice(0, 2);
    if (option === "-c") vcpus = Number(value);
    else memory = Number(value) * MIB;
  }
  return { vcpus, memory, words: rest.join(" ") };
}

function say(message: string): void {
  console.error(`demo: ${message}`);
}

function makeMemory(size: number): GuestMemory {
  const memory = new GuestMemory(size);
  const low = Math.min(size, LOWMEM_LIMIT);
  const map = (gpa: number, length: number, offset: number) =>
    memory.map({ gpa, length, offset, writable: true });
  map(0, low, 0);
  if (size > low) map(HIGHMEM_BASE, size - low, low);
  return memory;
}

// Loads the kernel: what vCPU 0 starts from.
function load(
  memory: GuestMemory,
  guest: { readonly kernel: string; readonly initrd: string },
  commandLine: string,
): VcpuState {
  const ram = new GuestRam(memory);
  const file = (path: string) => ({
    name: path,
    bytes: Deno.readFileSync(path),
  });
  const start = loadLinux(
    {
      lowmem: Math.min(memory.size, LOWMEM_LIMIT),
      highmem: Math.max(0, memory.size - LOWMEM_LIMIT),
      view: (gpa, length) => ram.view(gpa, length),
    },
    {
      kernel: file(guest.kernel),
      initrd: file(guest.initrd),
      commandLine,
    },
  );
  const vcpu = new RestingVcpu(0, ram);
  applyStart(vcpu, start);
  return vcpu.save();
}

function planOf(
  options: DemoOptions,
  bsp: VcpuState,
  stdio: SharedArrayBuffer,
): MachinePlan {
  const config = new ConfigNode();
  config.set("uuid", defaultUuid("demo", "demo"));
  config.set("rtc.use_localtime", false);
  config.set("pci.0.0.0.device", "hostbridge");
  config.set("pci.0.3.0.device", "virtio-rnd");
  config.set("pci.0.31.0.device", "lpc");
  config.set("lpc.com1.path", "stdio");
  const { vcpus, memory } = options;
  return {
    name: "demo",
    config: configValues(config),
    topology: { sockets: vcpus, cores: 1, threads: 1, maxcpus: 16 },
    lowmem: Math.min(memory, LOWMEM_LIMIT),
    highmem: Math.max(0, memory - LOWMEM_LIMIT),
    vcpus: Array.from({ length: vcpus }, (_, n) => n === 0 ? bsp : null),
    rtc: null,
    chars: { stdio },
    permissions: { read: [], write: [] },
  };
}

async function runMachine(options: DemoOptions): Promise<MachineEnd> {
  const guest = await linuxGuest(undefined, (message) => say(`${message} ...`));
  const memory = makeMemory(options.memory);
  const commandLine = `console=ttyS0 ${options.words}`.trim();
  const bsp = load(memory, guest, commandLine);
  const threads: { machine?: MachineThreads } = {};
  const channel = new HostChannel(() => threads.machine?.wake());
  const machine = await MachineThreads.create(
    planOf(options, bsp, channel.buffer),
    memory,
  );
  threads.machine = machine;
  const tty = new StdioTty(STANDARD_STREAMS, {
    end: () => machine.terminate(),
    say,
  });
  const served = tty.serve(channel);
  Deno.addSignalListener("SIGTERM", () => {
    if (!machine.pressPowerButton()) machine.terminate();
  });
  say("booting Linux");
  machine.run();
  const end = await machine.ended;
  channel.end();
  await served;
  tty.close();
  return end;
}

async function main(): Promise<number> {
  const end = await runMachine(parse(Deno.args));
  if (end.kind === "suspended") return STATUS_BY_REASON[end.how] ?? 4;
  say(end.message);
  return ERROR_STATUS;
}

Deno.exit(await main());
