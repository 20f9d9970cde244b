// The machine's thread: builds the machine from plain data and runs it. It never
// returns to its event loop while the machine runs; the mailbox brings it input.

import { HostBridge } from "../devices/pci/host_bridge.ts";
import type { CharBackend, CharSink } from "../devices/uart/char_backend.ts";
import { FileBackend } from "../devices/block/file.ts";
import { generatedSerial } from "../devices/block/serial.ts";
import { VirtioPci } from "../devices/virtio/transport.ts";
import { VirtioBlk } from "../devices/virtio/virtio_blk.ts";
import { VirtioRnd } from "../devices/virtio/virtio_rnd.ts";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import { loadLinux } from "../vmm/loader/linux.ts";
import { Machine, type PlacedDevice, type SuspendReason } from "./machine.ts";
import { Mailbox, REQUEST } from "./mailbox.ts";

/** A Linux machine as plain data. */
export interface MachinePlan {
  /** bytes of RAM */
  readonly memory: number;
  /** path of the kernel */
  readonly kernel: string;
  /** path of the initial RAM disk */
  readonly initrd?: string;
  /** the kernel's command line */
  readonly commandLine: string;
  /** paths of disks, each a `virtio-blk` */
  readonly disks?: readonly string[];
  /** SMBIOS UUID */
  readonly uuid?: string;
}

/** What the worker is sent first. */
export interface StartMessage {
  readonly plan: MachinePlan;
  readonly mailbox: SharedArrayBuffer;
}

/** What the worker answers last. */
export type EndMessage =
  | {
    readonly how: SuspendReason;
    readonly instructions: number;
    readonly statistics: unknown;
  }
  | { readonly error: string };

const NO_UUID = "00000000-0000-0000-0000-000000000000";
const FLUSH_AT = 1024;
const NEWLINE = 10;

/** COM1 on standard output and the mailbox's input. */
class Console implements CharBackend {
  readonly #mailbox: Mailbox;
  readonly #out: number[] = [];
  #sink: CharSink | undefined;

  constructor(mailbox: Mailbox) {
    this.#mailbox = mailbox;
  }

  write(byte: number): void {
    this.#out.push(byte);
    if (byte === NEWLINE || this.#out.length >= FLUSH_AT) this.flush();
  }

  onInput(sink: CharSink): void {
    this.#sink = sink;
  }

  ready(): void {
    this.poll();
  }

  /** Hands input to the port. */
  poll(): void {
    if (this.#sink === undefined) return;
    const bytes = this.#mailbox.peek();
    if (bytes.length > 0) this.#mailbox.take(this.#sink.offer(bytes));
  }

  flush(): void {
    if (this.#out.length === 0) return;
    const bytes = new Uint8Array(this.#out);
    this.#out.length = 0;
    for (let at = 0; at < bytes.length;) {
      at += Deno.stdout.writeSync(bytes.subarray(at));
    }
  }
}

function devicesOf(plan: MachinePlan): PlacedDevice[] {
  const slot = (number: number) => ({ bus: 0, slot: number, func: 0 });
  const disks = (plan.disks ?? []).map((path, n): PlacedDevice => ({
    location: slot(4 + n),
    make: ({ ram, clock, log }) =>
      new VirtioPci(
        new VirtioBlk({
          backend: new FileBackend({
            path,
            readOnly: false,
            writeThrough: false,
            noCache: false,
            noDelete: false,
          }),
          serial: generatedSerial(path),
        }),
        { name: `virtio-blk@${4 + n}`, memory: ram, clock, log },
      ),
  }));
  return [
    { location: slot(0), make: () => new HostBridge() },
    ...disks,
    {
      location: slot(3),
      make: ({ ram, clock, log }) =>
        new VirtioPci(new VirtioRnd(), {
          name: "virtio-rnd@3",
          memory: ram,
          clock,
          log,
        }),
    },
  ];
}

function run({ plan, mailbox: buffer }: StartMessage): EndMessage {
  const mailbox = new Mailbox(buffer);
  const console_ = new Console(mailbox);
  const log = { warn: (message: string) => console.error(`bhyve: ${message}`) };
  const poll = () => {
    console_.flush();
    if (mailbox.isEmpty) return;
    console_.poll();
    const requests = mailbox.takeRequests();
    if (requests & REQUEST.POWER_BUTTON && !machine.pressPowerButton()) {
      machine.suspend(SUSPEND.POWEROFF);
    }
    if (requests & REQUEST.STOP) machine.suspend(SUSPEND.DESTROY);
  };
  const machine: Machine = new Machine({
    memory: plan.memory,
    uuid: plan.uuid ?? NO_UUID,
    devices: devicesOf(plan),
    lpcSlot: 31,
    backends: { com1: console_ },
    wallClock: () => Date.now() / 1000,
    log,
    poll,
    sleep: (milliseconds) => {
      console_.flush();
      const mark = mailbox.mark;
      if (mailbox.isEmpty) mailbox.wait(mark, milliseconds);
    },
  });
  const file = (path: string) => ({
    name: path,
    bytes: Deno.readFileSync(path),
  });
  machine.start(loadLinux(
    {
      lowmem: machine.lowmem,
      highmem: machine.highmem,
      view: (gpa, length) => machine.ram.view(gpa, length),
    },
    {
      kernel: file(plan.kernel),
      commandLine: plan.commandLine,
      ...(plan.initrd === undefined ? {} : { initrd: file(plan.initrd) }),
    },
  ));
  machine.writeTables();
  const how = machine.run();
  console_.flush();
  const { statistics } = machine.cpu; console.log('JIT', String((globalThis as any).SC)); console.log('JIT', String([...(globalThis as any).US].sort((a:any,b:any)=>b[1]-a[1]).slice(0,30).map((x:any)=>x.join(':')).join('; ')));
  return { how, instructions: statistics.instructions, statistics };
}

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<StartMessage>) => void) | null;
  postMessage(message: EndMessage): void;
};
scope.onmessage = (event) => {
  try {
    scope.postMessage(run(event.data));
  } catch (error) {
    scope.postMessage({
      error: error instanceof Error ? error.message : String(error),
    });
  }
};
