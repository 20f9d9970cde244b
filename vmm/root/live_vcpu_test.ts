import { assertEquals, assertObjectMatch, assertRejects } from "@std/assert";
import { EXIT_CODE, SUSPEND } from "../cpu/exits.ts";
import { REGISTER } from "../cpu/registers.ts";
import { VmmError } from "../errno.ts";
import {
  type VcpuHandle,
  vcpuReset,
  vmActivateCpu,
  vmClose,
  vmGetRegister,
  vmGetStats,
  vmMapGpa,
  VMMAPI_OPEN,
  vmOpen,
  vmOpenf,
  vmReadGpa,
  vmRun,
  vmSetCapability,
  vmSetDesc,
  vmSetRegister,
  vmSetupMemory,
  vmSuspendCpu,
  vmVcpuOpen,
} from "../vmmapi.ts";
import { CAPABILITY } from "../cpu/options.ts";
import { VmmRoot } from "./root.ts";

const MIB = 2 ** 20;
const START = 0x1000;

/** A vCPU in real mode at 1000h with some code there. */
async function withCode(
  code: readonly number[],
  test: (vcpu: VcpuHandle, root: VmmRoot) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "vmm" });
  try {
    const root = new VmmRoot(`${directory}/root`);
    const ctx = await vmOpenf("demo", VMMAPI_OPEN.CREATE, root);
    await vmSetupMemory(ctx, MIB);
    vmMapGpa(ctx, START, code.length)!.set(code);
    const vcpu = vmVcpuOpen(ctx, 0);
    await vcpuReset(vcpu);
    await vmSetRegister(vcpu, REGISTER.CS, 0n);
    await vmSetDesc(vcpu, REGISTER.CS, {
      base: 0n,
      limit: 0xffff,
      access: 0x9b,
    });
    await vmSetRegister(vcpu, REGISTER.RIP, BigInt(START));
    await vmActivateCpu(vcpu);
    await test(vcpu, root);
    await vmClose(ctx);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("vmRun() runs to an exit, takes the answer, and what it did stays", async () => {
  // in al, 0x99; mov [0x2000], al; out 0x99, al
  const code = [0xe4, 0x99, 0xa2, 0x00, 0x20, 0xe6, 0x99];
  await withCode(code, async (vcpu, root) => {
    const read = await vmRun(vcpu);
    assertObjectMatch(read, { code: EXIT_CODE.INOUT, in: true, port: 0x99 });
    const written = await vmRun(vcpu, { value: 0x42 });
    assertObjectMatch(written, {
      code: EXIT_CODE.INOUT,
      in: false,
      value: 0x42,
    });
    assertEquals((await vmGetStats(vcpu)).counters[1], 2n);
    await vmClose(vcpu.ctx);
    const again = await vmOpen("demo", root);
    assertEquals([...await vmReadGpa(again, 0x2000n, 1)], [0x42]);
    const rip = await vmGetRegister(vmVcpuOpen(again, 0), REGISTER.RIP);
    assertEquals(rip, BigInt(START + 5));
    await vmClose(again);
  });
});

Deno.test("vmRun() has vmm(4)'s own devices: a timer's interrupt ends HLT", async () => {
  // The 8254 counts down from 1000 once and interrupts 20h, which writes port 99h.
  const code = [
    ...[0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21], // ICW1, ICW2
    ...[0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21], // ICW3, ICW4
    ...[0xb0, 0xfe, 0xe6, 0x21], // only IRQ 0
    ...[0xb0, 0x30, 0xe6, 0x43, 0xb0, 0xe8, 0xe6, 0x40, 0xb0, 0x03, 0xe6, 0x40],
    ...[0xfb, 0xf4, 0xf4], // sti; hlt; hlt
  ];
  await withCode(code, async (vcpu) => {
    vmMapGpa(vcpu.ctx, 0x80, 4)!.set([0x00, 0x30, 0, 0]);
    vmMapGpa(vcpu.ctx, 0x3000, 2)!.set([0xe6, 0x99]);
    await vmSetRegister(vcpu, REGISTER.RSP, 0x8000n);
    const exit = await vmRun(vcpu);
    assertObjectMatch(exit, { code: EXIT_CODE.INOUT, port: 0x99 });
  });
});

Deno.test("vmRun() halts a machine that nothing can wake", async () => {
  await withCode([0xfa, 0xf4], async (vcpu) => {
    const halted = { code: EXIT_CODE.SUSPENDED, how: SUSPEND.HALT };
    assertObjectMatch(await vmRun(vcpu), halted);
    assertObjectMatch(await vmRun(vcpu), halted);
  });
});

Deno.test("vmRun() leaves at HLT where that was asked for", async () => {
  await withCode([0xf4], async (vcpu) => {
    await vmSetCapability(vcpu, CAPABILITY.HALT_EXIT, 1);
    assertEquals((await vmRun(vcpu)).code, EXIT_CODE.HLT);
  });
});

Deno.test("vmRun() needs an active vCPU that nobody holds", async () => {
  await withCode([0xf4], async (vcpu) => {
    const other = vmVcpuOpen(vcpu.ctx, 1);
    const error = await assertRejects(() => vmRun(other), VmmError);
    assertEquals(error.code, "EINVAL");
    await vmSuspendCpu(vcpu);
    assertEquals((await vmRun(vcpu)).code, EXIT_CODE.DEBUG);
  });
});

Deno.test("vmRun() refuses x2APIC mode as a running machine does", async () => {
  // ECX = 1Bh; rdmsr; or ah, 4; wrmsr; out 0x99, al
  const code = [
    ...[0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x80, 0xcc, 0x04, 0x0f, 0x30],
    ...[0xe6, 0x99],
  ];
  await withCode(code, async (vcpu) => {
    vmMapGpa(vcpu.ctx, 4 * 13, 4)!.set([0x00, 0x30, 0, 0]);
    vmMapGpa(vcpu.ctx, 0x3000, 2)!.set([0xe6, 0x98]);
    await vmSetRegister(vcpu, REGISTER.RSP, 0x8000n);
    assertObjectMatch(await vmRun(vcpu), { code: EXIT_CODE.INOUT, port: 0x98 });
  });
});
