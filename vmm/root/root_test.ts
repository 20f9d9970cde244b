import { assert, assertEquals, assertRejects } from "@std/assert";
import { REGISTER } from "../cpu/registers.ts";
import { type ErrnoName, VmmError } from "../errno.ts";
import {
  vmActivateCpu,
  vmActiveCpus,
  vmClose,
  vmDestroy,
  vmGetRegister,
  vmGetTopology,
  vmMapGpa,
  VMMAPI_OPEN,
  vmOpen,
  vmOpenf,
  vmReadGpa,
  vmRtcRead,
  vmRtcWrite,
  vmSetRegister,
  vmSetTopology,
  vmSetupMemory,
  vmSuspend,
  vmVcpuOpen,
  vmWriteGpa,
} from "../vmmapi.ts";
import { VmmRoot } from "./root.ts";

const MIB = 2 ** 20;
const CLAIMER = new URL("./_claimer.ts", import.meta.url).pathname;

async function withRoot(
  test: (root: VmmRoot) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "vmm" });
  try {
    await test(new VmmRoot(`${directory}/root`));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function assertErrno(
  code: ErrnoName,
  act: () => Promise<unknown>,
): Promise<void> {
  const error = await assertRejects(act, VmmError);
  assertEquals(error.code, code, error.message);
}

function filesOf(root: VmmRoot): string[] {
  const { machines, deviceMemory, runtime } = root.paths;
  return [machines, deviceMemory, runtime].flatMap((directory) =>
    [...Deno.readDirSync(directory)].map(({ name }) => name)
  );
}

/** A machine run by another process. */
class Runner {
  readonly #child: Deno.ChildProcess;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
  }

  static async start(root: VmmRoot, name: string, mode: string) {
    const { root: path } = root.paths;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", CLAIMER, path, name, mode],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    assertEquals(new TextDecoder().decode(value), "claimed\n");
    await reader.cancel();
    return new Runner(child);
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }

  async ended(): Promise<number> {
    return (await this.#child.status).code;
  }
}

Deno.test("a machine is created once, opened, destroyed, and leaves nothing", async () => {
  await withRoot(async (root) => {
    await assertErrno("ENOENT", () => vmOpen("demo", root));
    await root.create("demo");
    const { mode } = Deno.statSync(root.paths.node("demo"));
    assertEquals(mode! & 0o777, 0o600);
    await assertErrno("EEXIST", () => root.create("demo"));
    assertEquals(root.list(), ["demo"]);
    await vmDestroy(await vmOpen("demo", root));
    assertEquals(filesOf(root), []);
    await assertErrno("EINVAL", () => root.destroy("demo"));
    await assertErrno("ENOENT", () => vmOpen("demo", root));
  });
});

Deno.test("a name that devfs would not have is refused", async () => {
  await withRoot(async (root) => {
    const names = ["", ".", "..", "a/b", "a b", "a\n", 'a"', "x".repeat(230)];
    for (const name of names) {
      await assertErrno("EINVAL", () => root.create(name));
      await assertErrno("ENOENT", () => root.open(name));
    }
    await root.create("x".repeat(229));
    await root.destroy("x".repeat(229));
  });
});

Deno.test("registers, memory, sets and the clock's memory stay on disk", async () => {
  await withRoot(async (root) => {
    await root.create("demo");
    const ctx = await vmOpen("demo", root);
    await vmSetTopology(ctx, 1, 2, 1);
    await vmSetRegister(vmVcpuOpen(ctx, 1), REGISTER.RAX, 2n ** 64n - 1n);
    await vmActivateCpu(vmVcpuOpen(ctx, 1));
    await vmRtcWrite(ctx, 0x40, 0xa5);
    await vmSetupMemory(ctx, 4096 * MIB);
    vmMapGpa(ctx, 5 * MIB, 3)!.set([1, 2, 3]);
    vmMapGpa(ctx, 4096 * MIB + 7, 2)!.set([8, 9]);
    await vmClose(ctx);

    const again = await vmOpen("demo", root);
    const vcpu = vmVcpuOpen(again, 1);
    assertEquals(await vmGetRegister(vcpu, REGISTER.RAX), 2n ** 64n - 1n);
    assertEquals(await vmActiveCpus(again), [1]);
    assertEquals((await vmGetTopology(again)).cores, 2);
    assertEquals(await vmRtcRead(again, 0x40), 0xa5);
    const low = await vmReadGpa(again, BigInt(5 * MIB), 4);
    assertEquals([...low], [1, 2, 3, 0]);
    const high = await vmReadGpa(again, BigInt(4096 * MIB), 9);
    assertEquals([...high], [0, 0, 0, 0, 0, 0, 0, 8, 9]);
    await assertErrno("EBUSY", () => vmActivateCpu(vcpu));
    await vmClose(again);
    const images = filesOf(root).filter((name) => name.includes(".mem-"));
    assertEquals(images.length, 1);
    const { size } = Deno.statSync(`${root.paths.runtime}/${images[0]}`);
    assert(size <= MIB, `${size} bytes for two pages`);
  });
});

Deno.test("memory is written without mapping it; holes read as zeros", async () => {
  await withRoot(async (root) => {
    const ctx = await vmOpenf("demo", VMMAPI_OPEN.CREATE, root);
    await assertErrno("EFAULT", () => vmReadGpa(ctx, 0n, 1));
    await vmSetupMemory(ctx, 4096 * MIB, 0);
    await vmWriteGpa(ctx, 10n, Uint8Array.of(1, 2));
    assertEquals([...await vmReadGpa(ctx, 9n, 4)], [0, 1, 2, 0]);
    const hole = BigInt(3 * 1024 * MIB);
    assertEquals([...await vmReadGpa(ctx, hole, 2)], [0, 0]);
    await assertErrno(
      "EFAULT",
      () => vmWriteGpa(ctx, hole, Uint8Array.of(1)),
    );
    await assertErrno("EFAULT", () => vmReadGpa(ctx, 2n ** 40n, 1));
    await vmClose(ctx);
  });
});

Deno.test("what is abandoned was never done, and the lock is free again", async () => {
  await withRoot(async (root) => {
    const ctx = await vmOpenf("demo", VMMAPI_OPEN.CREATE, root);
    await vmSetupMemory(ctx, 16 * MIB);
    vmMapGpa(ctx, 0, 1)!.fill(7);
    await vmSetRegister(vmVcpuOpen(ctx, 0), REGISTER.RBX, 5n);
    await ctx.device.abandon();
    const again = await vmOpen("demo", root);
    assertEquals([...await vmReadGpa(again, 0n, 1)], [0]);
    const vcpu = vmVcpuOpen(again, 0);
    assertEquals(await vmGetRegister(vcpu, REGISTER.RBX), 0n);
    await vmClose(again);
  });
});

Deno.test("a machine can be given no second memory of another size", async () => {
  await withRoot(async (root) => {
    const ctx = await vmOpenf("demo", VMMAPI_OPEN.CREATE, root);
    await vmSetupMemory(ctx, 16 * MIB, 0);
    await vmSetupMemory(ctx, 16 * MIB, 0);
    await assertErrno("EINVAL", () => vmSetupMemory(ctx, 32 * MIB, 0));
    await vmClose(ctx);
  });
});

Deno.test("a machine that another process runs answers from there", async () => {
  await withRoot(async (root) => {
    const ctx = await vmOpenf("demo", VMMAPI_OPEN.CREATE, root);
    const vcpu = vmVcpuOpen(ctx, 0);
    await vmSetRegister(vcpu, REGISTER.RAX, 1n);
    const runner = await Runner.start(root, "demo", "normal");
    assertEquals(await vmGetRegister(vcpu, REGISTER.RAX), 1n);
    await vmSetRegister(vcpu, REGISTER.RAX, 2n);
    await assertErrno("EBUSY", () => root.claim("demo"));
    await assertErrno("EBUSY", () => ctx.device.mapMemory());
    await vmSuspend(ctx, 2);
    assertEquals(await runner.ended(), 0);
    // It rests again, as it was when it was claimed.
    assertEquals(await vmGetRegister(vcpu, REGISTER.RAX), 1n);
    await vmClose(ctx);
  });
});

Deno.test("a machine that is given back meanwhile answers all the same", async () => {
  await withRoot(async (root) => {
    const ctx = await vmOpenf("demo", VMMAPI_OPEN.CREATE, root);
    const vcpu = vmVcpuOpen(ctx, 0);
    await vmSetRegister(vcpu, REGISTER.RAX, 1n);
    for (let round = 0; round < 40; round++) {
      const node = await root.claim("demo");
      assertEquals(await vmGetRegister(vcpu, REGISTER.RAX), 1n);
      const released = node.release();
      for (let turn = 0; turn < round % 8; turn++) await nextTurn();
      assertEquals(await vmGetRegister(vcpu, REGISTER.RAX), 1n);
      await released;
    }
    await vmClose(ctx);
  });
});

function nextTurn(): Promise<void> {
  return new Promise((go) => setTimeout(go, 0));
}

Deno.test("a killed process leaves a machine that rests, can be claimed and destroyed", async () => {
  await withRoot(async (root) => {
    await root.create("demo");
    const runner = await Runner.start(root, "demo", "normal");
    await runner.kill();
    const ctx = await vmOpen("demo", root);
    assertEquals(await vmActiveCpus(ctx), []);
    await vmClose(ctx);
    const node = await root.claim("demo");
    await node.release();
    await root.destroy("demo");
    assertEquals(filesOf(root), []);
  });
});

Deno.test("a monitored machine goes with its process, however that ends", async () => {
  await withRoot(async (root) => {
    const killed = await Runner.start(root, "demo", "monitor");
    const ctx = await vmOpen("demo", root);
    assertEquals(await vmActiveCpus(ctx), []);
    await killed.kill();
    await vmClose(ctx);
    await assertErrno("ENOENT", () => vmOpen("demo", root));
    assertEquals(filesOf(root), []);
    const ended = await Runner.start(root, "demo", "monitor");
    const again = await vmOpen("demo", root);
    await vmSuspend(again, 2);
    await vmClose(again);
    assertEquals(await ended.ended(), 0);
    assertEquals(filesOf(root), []);
  });
});

Deno.test("destroying a machine ends the process that runs it", async () => {
  await withRoot(async (root) => {
    await root.create("demo");
    const runner = await Runner.start(root, "demo", "normal");
    await root.destroy("demo");
    assertEquals(await runner.ended(), 0);
    assertEquals(filesOf(root), []);
  });
});

Deno.test("what a killed process left while it saved goes with the machine", async () => {
  await withRoot(async (root) => {
    for (const name of ["a", "a.mem-1"]) await root.create(name);
    for (const file of ["a.new-77", "a.mem-9", "a.mem-1.mem-1"]) {
      Deno.writeTextFileSync(`${root.paths.runtime}/${file}`, "");
    }
    await root.destroy("a");
    assertEquals(filesOf(root).sort(), [
      "a.mem-1",
      "a.mem-1.lock",
      "a.mem-1.mem-1",
    ]);
    await root.destroy("a.mem-1");
    assertEquals(filesOf(root), []);
  });
});

Deno.test("a damaged node is an error that says so", async () => {
  await withRoot(async (root) => {
    await root.create("demo");
    const path = root.paths.node("demo");
    for (const text of ["", "{}", "[1", '{"kind":"vmm node","version":9}']) {
      Deno.writeTextFileSync(path, text);
      await assertErrno("EIO", () => root.open("demo"));
    }
  });
});

Deno.test("several processes change a machine at rest, one after another", async () => {
  await withRoot(async (root) => {
    await root.create("demo");
    const handles = await Promise.all(
      Array.from({ length: 8 }, () => vmOpen("demo", root)),
    );
    await Promise.all(
      handles.map((ctx, n) =>
        vmSetRegister(vmVcpuOpen(ctx, n), REGISTER.RCX, BigInt(n))
      ),
    );
    const ctx = handles[0]!;
    for (const n of handles.keys()) {
      const value = await vmGetRegister(vmVcpuOpen(ctx, n), REGISTER.RCX);
      assertEquals(value, BigInt(n));
    }
    await Promise.all(handles.map(vmClose));
  });
});
