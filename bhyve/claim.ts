// The machine that a command line names, made ready to run: claimed for this process,
// with its topology, its memory and, where bhyve loads it itself, its kernel.

import { VmmError } from "../vmm/errno.ts";
import { VM_HIGHMEM_BASE, VM_LOWMEM_LIMIT } from "../vmm/vmmapi.ts";
import { type CpuTopology, PROT } from "../vmm/ioctl.ts";
import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import type { ClaimedNode } from "../vmm/root/claimed_node.ts";
import type { RestingMachine } from "../vmm/root/resting_machine.ts";
import type { VmmRoot } from "../vmm/root/root.ts";
import type { VmState } from "../vmm/root/state.ts";
import { refuse, STATUS } from "./option_error.ts";
import { requireVcpus, type Topology } from "./topology.ts";

/** How a machine is claimed and made ready. */
export interface ClaimRequest {
  readonly name: string;
  /** monitor mode */
  readonly monitor: boolean;
  readonly topology: Topology;
  /** bytes of RAM */
  readonly memory: number;
  /** whether every page of memory is touched before the start */
  readonly wired: boolean;
  /** Loads a system; without, bhyveload has done it. @throws {Error} */
  load?(machine: RestingMachine): void;
}

/** A machine of this process, and how it starts. */
export class ReadyMachine {
  readonly #claimed: ClaimedNode;
  readonly #request: ClaimRequest;
  readonly #isNew: boolean;

  private constructor(
    claimed: ClaimedNode,
    request: ClaimRequest,
    isNew: boolean,
  ) {
    this.#claimed = claimed;
    this.#request = request;
    this.#isNew = isNew;
  }

  /**
   * Claims a machine and makes it ready; where that fails nothing is left behind.
   *
   * @throws {OptionError} where it cannot be claimed, or does not fit the request
   */
  static async claim(
    root: VmmRoot,
    request: ClaimRequest,
  ): Promise<ReadyMachine> {
    const { claimed, isNew } = await claimNode(root, request);
    const ready = new ReadyMachine(claimed, request, isNew);
    try {
      ready.#prepare();
      return ready;
    } catch (error) {
      await ready.abandon();
      throw error;
    }
  }

  /** The machine's device, for requests while it is this process's. */
  get claimed(): ClaimedNode {
    return this.#claimed;
  }

  /** What the machine's threads start from. */
  get state(): VmState {
    return this.#claimed.machine.save();
  }

  /** System memory. */
  get memory(): GuestMemory {
    return this.#claimed.machine.guestMemory;
  }

  /** Makes it as it was at the first start: after a reset in monitor mode. */
  restart(): void {
    this.#claimed.reload();
    this.#prepare();
  }

  /** Lets go of a machine that does not start: one that was made for it goes. */
  async abandon(): Promise<void> {
    await (this.#isNew ? this.#claimed.destroy() : this.#claimed.release());
  }

  #prepare(): void {
    const { machine } = this.#claimed;
    const { load, memory, topology, wired } = this.#request;
    if (load === undefined) requireLoaded(machine, this.#request);
    else machine.ioctl("VM_REINIT", {});
    setTopology(machine, topology);
    setMemory(machine, memory);
    load?.(machine);
    if (wired) touchAll(machine.guestMemory.bytes);
  }
}

async function claimNode(
  root: VmmRoot,
  { name, monitor, load }: ClaimRequest,
): Promise<{ claimed: ClaimedNode; isNew: boolean }> {
  try {
    return { claimed: await root.claim(name, { monitor }), isNew: false };
  } catch (error) {
    if (!(error instanceof VmmError)) throw error;
    if (error.code !== "ENOENT") throw cannotUse(name, error);
    if (load === undefined) throw missing(root, name);
  }
  try {
    const claimed = await root.claim(name, { monitor, create: true });
    return { claimed, isNew: true };
  } catch (error) {
    throw error instanceof VmmError ? cannotUse(name, error) : error;
  }
}

function cannotUse(name: string, { message }: VmmError): Error {
  return refuse(STATUS.ERROR, `Cannot use machine ${name}: ${message}`);
}

function missing(root: VmmRoot, name: string): Error {
  return refuse(
    STATUS.ERROR,
    `no machine ${name} in ${root.paths.root}, and no bootrom was configured: run bhyveload first, or give -o loader.kernel=FILE`,
  );
}

function requireLoaded(machine: RestingMachine, { name }: ClaimRequest): void {
  const { vcpus } = machine.save();
  if (machine.memory.systemBytes > 0 && vcpus[0] != null) return;
  throw refuse(
    STATUS.ERROR,
    `nothing is loaded in machine ${name}, and no bootrom was configured: run bhyveload first, or give -o loader.kernel=FILE`,
  );
}

function setTopology(machine: RestingMachine, topology: Topology): void {
  const { cpus, sockets, cores, threads } = topology;
  const { maxcpus } = machine.topology;
  requireVcpus(cpus, maxcpus);
  const wanted: CpuTopology = { sockets, cores, threads, maxcpus };
  try {
    machine.ioctl("VM_SET_TOPOLOGY", wanted);
  } catch (error) {
    if (!(error instanceof VmmError)) throw error;
    throw refuse(STATUS.OS, `vm_set_topology: ${error.message}`);
  }
}

function setMemory(machine: RestingMachine, size: number): void {
  const given = machine.memory.systemBytes;
  if (given !== 0 && given !== size) {
    throw refuse(
      STATUS.ERROR,
      `Unable to set up memory: ${
        bytes(size)
      } requested, but the machine was loaded with ${bytes(given)}`,
    );
  }
  if (given !== 0) return;
  machine.ioctl("VM_ALLOC_MEMSEG", { segid: 0, len: size, name: "" });
  const lowmem = Math.min(size, VM_LOWMEM_LIMIT);
  map(machine, 0, 0, lowmem);
  if (size > lowmem) map(machine, VM_HIGHMEM_BASE, lowmem, size - lowmem);
}

function map(
  machine: RestingMachine,
  gpa: number,
  segoff: number,
  len: number,
): void {
  machine.ioctl("VM_MMAP_MEMSEG", {
    gpa: BigInt(gpa),
    segid: 0,
    segoff,
    len,
    prot: PROT.ALL,
    flags: 0,
  });
}

const UNITS = ["bytes", "KiB", "MiB", "GiB"] as const;

function bytes(count: number): string {
  let unit = 0;
  while (unit < UNITS.length - 1 && count % 1024 === 0) {
    count /= 1024;
    unit++;
  }
  return `${count} ${UNITS[unit]}`;
}

const PAGE = 4096;

// Deno has no mlock(2): the host gives every page a frame, but may still take it back.
function touchAll(memory: Uint8Array): void {
  for (let at = 0; at < memory.length; at += PAGE) memory[at] = memory[at]!;
}
