// Machines made ready to run: what exists, what was loaded, what fits, and that nothing
// is left where it does not.

import { assert, assertEquals, assertRejects } from "@std/assert";
import { REGISTER } from "../vmm/cpu/registers.ts";
import type { RestingMachine } from "../vmm/root/resting_machine.ts";
import { VmmRoot } from "../vmm/root/root.ts";
import {
  vmClose,
  vmOpen,
  vmSetRegister,
  vmSetupMemory,
  vmVcpuOpen,
} from "../vmm/vmmapi.ts";
import { type ClaimRequest, ReadyMachine } from "./claim.ts";
import { OptionError } from "./option_error.ts";

const MIB = 2 ** 20;
const ONE = { cpus: 1, sockets: 1, cores: 1, threads: 1 };
const REQUEST: ClaimRequest = {
  name: "vm",
  monitor: false,
  topology: ONE,
  memory: 32 * MIB,
  wired: false,
};

async function withRoot(test: (root: VmmRoot) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir({ prefix: "vmm-" });
  try {
    await test(new VmmRoot(`${path}/root`));
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

function load(machine: RestingMachine): void {
  machine.ram.view(0x1000, 4)!.set([1, 2, 3, 4]);
  const rip = { cpuid: 0, regnum: REGISTER.RIP, regval: 0x1000n };
  machine.ioctl("VM_SET_REGISTER", rip);
}

/** As bhyveload leaves a machine. */
async function loaded(root: VmmRoot): Promise<void> {
  await root.create("vm");
  const ctx = await vmOpen("vm", root);
  await vmSetupMemory(ctx, 32 * MIB);
  await vmSetRegister(vmVcpuOpen(ctx, 0), REGISTER.RIP, 0x2000n);
  await vmClose(ctx);
}

async function refused(
  root: VmmRoot,
  request: Partial<ClaimRequest>,
  status: number,
  message: string,
): Promise<void> {
  const error = await assertRejects(
    () => ReadyMachine.claim(root, { ...REQUEST, ...request }),
    OptionError,
  );
  assertEquals([error.status, error.message], [status, `bhyve: ${message}`]);
}

Deno.test("ReadyMachine wants a machine that is there and was loaded", () =>
  withRoot(async (root) => {
    const hint =
      "and no bootrom was configured: run bhyveload first, or give -o loader.kernel=FILE";
    const where = root.paths.root;
    await refused(root, {}, 4, `no machine vm in ${where}, ${hint}`);
    await root.create("vm");
    await refused(root, {}, 4, `nothing is loaded in machine vm, ${hint}`);
    assertEquals(root.list(), ["vm"]);
  }));

Deno.test("ReadyMachine takes what bhyveload left, and leaves it so", () =>
  withRoot(async (root) => {
    await loaded(root);
    const topology = { cpus: 4, sockets: 1, cores: 2, threads: 2 };
    const ready = await ReadyMachine.claim(root, { ...REQUEST, topology });
    assertEquals(ready.memory.size, 32 * MIB);
    assertEquals(ready.state.topology, {
      ...{ sockets: 1, cores: 2, threads: 2 },
      maxcpus: 16,
    });
    assert(ready.state.vcpus[0] !== null);
    await ready.abandon();
    assertEquals(root.list(), ["vm"]);
    const again = await ReadyMachine.claim(root, REQUEST);
    await again.abandon();
  }));

Deno.test("ReadyMachine refuses what does not fit the machine", () =>
  withRoot(async (root) => {
    await loaded(root);
    await refused(
      root,
      { memory: 64 * MIB },
      4,
      "Unable to set up memory: 64 MiB requested, but the machine was loaded with 32 MiB",
    );
    const topology = { cpus: 17, sockets: 17, cores: 1, threads: 1 };
    await refused(
      root,
      { topology },
      4,
      "17 vCPUs requested but only 16 available",
    );
    assertEquals(root.list(), ["vm"]);
  }));

Deno.test("ReadyMachine makes a machine for a kernel of its own", () =>
  withRoot(async (root) => {
    const memory = 3 * 2 ** 30 + 32 * MIB;
    const request = { ...REQUEST, memory, load, monitor: true };
    const ready = await ReadyMachine.claim(root, request);
    assertEquals(ready.memory.mappings, [
      { gpa: 0, length: 3 * 2 ** 30, offset: 0, writable: true },
      {
        gpa: 4 * 2 ** 30,
        length: 32 * MIB,
        offset: 3 * 2 ** 30,
        writable: true,
      },
    ]);
    assertEquals([...ready.memory.bytes.subarray(0x1000, 0x1004)], [
      1,
      2,
      3,
      4,
    ]);
    ready.memory.bytes[0x1000] = 9;
    ready.restart();
    assertEquals([...ready.memory.bytes.subarray(0x1000, 0x1004)], [
      1,
      2,
      3,
      4,
    ]);
    await ready.claimed.release();
    assertEquals(root.list(), []);
  }));

Deno.test("ReadyMachine loads its kernel again where the machine is there", () =>
  withRoot(async (root) => {
    await loaded(root);
    const ready = await ReadyMachine.claim(root, { ...REQUEST, load });
    const value = ready.claimed.machine.ioctl("VM_GET_REGISTER", {
      cpuid: 0,
      regnum: REGISTER.RIP,
    });
    assertEquals(value.regval, 0x1000n);
    await ready.abandon();
    assertEquals(root.list(), ["vm"]);
  }));

Deno.test("ReadyMachine leaves nothing of a machine that it made in vain", () =>
  withRoot(async (root) => {
    const fails = () => {
      throw new Error("no kernel");
    };
    const request = { ...REQUEST, load: fails };
    await assertRejects(
      () => ReadyMachine.claim(root, request),
      Error,
      "no kernel",
    );
    assertEquals(root.list(), []);
    assertEquals([...Deno.readDirSync(root.paths.runtime)], []);
  }));

Deno.test("ReadyMachine wires memory without changing it", () =>
  withRoot(async (root) => {
    const ready = await ReadyMachine.claim(root, {
      ...REQUEST,
      load,
      wired: true,
    });
    assertEquals(ready.memory.bytes[0x1003], 4);
    await ready.abandon();
  }));

Deno.test("ReadyMachine does not take a machine that runs", () =>
  withRoot(async (root) => {
    await loaded(root);
    const ready = await ReadyMachine.claim(root, REQUEST);
    await refused(
      root,
      {},
      4,
      `Cannot use machine vm: it is run by process ${Deno.pid}`,
    );
    await ready.abandon();
  }));

Deno.test("ReadyMachine says which name cannot be one", () =>
  withRoot((root) =>
    refused(
      root,
      { name: "a b", load },
      4,
      "Cannot use machine a b: Invalid argument",
    )
  ));
