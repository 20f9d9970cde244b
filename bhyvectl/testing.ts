// For the tests of bhyvectl: the command on a machine that answers requests as a test
// says and remembers them.

import { VmmError } from "../vmm/errno.ts";
import type { VmIn, VmOut, VmRequest } from "../vmm/ioctl.ts";
import type { VmmRoot } from "../vmm/root/root.ts";
import type { VmContext } from "../vmm/vmmapi.ts";
import type { MappedMemory, VmmDevice } from "../vmm/vmm_device.ts";
import { bhyvectl } from "./command.ts";

/** What a test's machine answers; what is not here is refused with ENOTTY. */
export type Answers = {
  readonly [R in VmRequest]?: (payload: VmIn<R>) => VmOut<R>;
};

/** A machine that answers as it was told. */
class ToldDevice implements VmmDevice {
  readonly name = "demo";
  readonly requests: VmRequest[] = [];
  isClosed = false;

  constructor(readonly answers: Answers) {}

  // deno-lint-ignore require-await -- what is thrown must become a rejection
  async ioctl<R extends VmRequest>(
    request: R,
    payload: VmIn<R>,
  ): Promise<VmOut<R>> {
    this.requests.push(request);
    const answer = this.answers[request];
    if (answer === undefined) throw new VmmError("ENOTTY");
    return answer(payload);
  }

  read(): Promise<Uint8Array> {
    return Promise.reject(new VmmError("EFAULT"));
  }

  write(): Promise<void> {
    return Promise.reject(new VmmError("EFAULT"));
  }

  mapMemory(): Promise<MappedMemory> {
    return Promise.reject(new VmmError("EBUSY"));
  }

  abandon(): Promise<void> {
    return Promise.reject(new VmmError("EBUSY"));
  }

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

/** What a command did. */
export interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
  readonly requests: readonly VmRequest[];
  readonly isClosed: boolean;
  readonly isDestroyed: boolean;
  /** flags of `vmOpenf`; undefined where nothing was opened */
  readonly openFlags: number | undefined;
}

/** How a test's machine is opened and destroyed. */
export interface Fate {
  readonly openError?: VmmError;
  readonly destroyError?: VmmError;
}

/** Runs `bhyvectl --vm=demo` with options on a machine that answers as it is told. */
export async function ctl(
  args: readonly string[],
  answers: Answers = {},
  fate: Fate = {},
): Promise<Outcome> {
  const device = new ToldDevice(answers);
  let [out, err, isDestroyed] = ["", "", false];
  let openFlags: number | undefined;
  const destroy = () => {
    if (fate.destroyError !== undefined) throw fate.destroyError;
    isDestroyed = true;
    return Promise.resolve();
  };
  const root = { destroy } as unknown as VmmRoot;
  const sizes = { memflags: 0, lowmem: 0, highmem: 0, memory: undefined };
  const open = (name: string, flags: number): Promise<VmContext> => {
    openFlags = flags;
    if (fate.openError !== undefined) return Promise.reject(fate.openError);
    return Promise.resolve({ root, device, name, ...sizes });
  };
  const status = await bhyvectl(["--vm=demo", ...args], {
    out: (text) => out += text,
    err: (text) => err += text,
    open,
  });
  const { requests, isClosed } = device;
  return { status, out, err, requests, isClosed, isDestroyed, openFlags };
}

/** What a command prints, by lines; it must succeed. */
export async function printed(
  args: readonly string[],
  answers: Answers,
): Promise<string[]> {
  const { status, out, err } = await ctl(args, answers);
  if (status !== 0) throw new Error(`status ${status}: ${err}`);
  return out.split("\n").slice(0, -1);
}
