// A machine's threads by small guest programs: start of other vCPUs, devices from afar,
// interrupts between vCPUs, code that one changes and another runs, the memory order,
// and every way to an end.

import {
  assert,
  assertEquals,
  assertObjectMatch,
  assertRejects,
} from "@std/assert";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import { REGISTER } from "../vmm/cpu/registers.ts";
import { VmmError } from "../vmm/errno.ts";
import {
  BSP_START,
  buildMachine,
  CODE,
  type TestProgram,
  wordAt,
} from "./_threads_testing.ts";

const TIME_LIMIT_MS = 60_000;

// Runs a program to its end; its memory afterwards.
async function run(program: TestProgram, how: number = SUSPEND.RESET) {
  const { threads, ram } = await buildMachine(program);
  const limit = setTimeout(() => threads.terminate(), TIME_LIMIT_MS);
  threads.run();
  const end = await threads.ended;
  clearTimeout(limit);
  assertObjectMatch(end, { kind: "suspended", how });
  return (gpa: number) => wordAt(ram, gpa);
}

Deno.test("vCPU 1 starts by INIT and STARTUP, uses devices and interrupts vCPU 0", async () => {
  const word = await run({
    // lidt; sti; 1: hlt; cmp [5008h], 0; je 1b
    bsp:
      `${CODE.START_AP} 0f011d00510000 fb f4 833d0850000000 74f6 ${CODE.END}`,
    // APIC ID; RTC register D by ports; I/O APIC version by memory; IPI 40h
    ap: `c705f000e0feff010000 a12000e0fe a300500000 b00d e670 e471 a204500000
      c7050000c0fe01000000 a11000c0fe a30c500000
      c7051003e0fe00000000 c7050003e0fe40400000 f4ebfd`,
    // mov [5008h], 1; EOI; iret
    more: { 0x1_1000: "c7050850000001000000 c705b000e0fe00000000 cf" },
    handlers: { 0x40: 0x1_1000 },
  });
  assertEquals(word(0x5000), 0x0100_0000);
  assertEquals(word(0x5004), 0x80);
  assertEquals(word(0x500c), 0x001f_0011);
  assertEquals(word(0x5008), 1);
});

Deno.test("code that vCPU 0 changes is new to vCPU 1 after it serialized", async () => {
  const word = await run({
    // for ecx in 1..1000: [b001h] = [5014h] = ecx; wait for [5018h]; compare [5010h]
    bsp: `${CODE.START_AP} b901000000 890d01b00000 890d14500000 f390
      3b0d18500000 75f6 3b0d10500000 7406 ff0520500000 41 81f9e8030000 72d3
      ${CODE.END}`,
    // wait for [5014h]; cpuid; call b000h; [5010h] = eax; [5018h] = round
    ap: `31f6 8b3d14500000 39f7 74f6 89fe 53 31c0 0fa2 5b b800b00000 ffd0
      a310500000 893518500000 ebda`,
    // mov eax, 0; ret
    more: { 0xb000: "b800000000c3" },
  });
  assertEquals(word(0x5018), 999);
  assertEquals(word(0x5020), 0);
});

// 100,000 locked increments of [5030h] and [503eh], which crosses a cache line; then
// of [5048h]
const INCREMENTS =
  `b9a0860100 f0ff0530500000 f0ff053e500000 f00fc105345000004975e7
  f0ff0548500000`;
// until [5048h] is 2
const BOTH_DONE = "f390833d485000000275f5";

Deno.test("locked updates of both vCPUs all count", async () => {
  const word = await run({
    bsp: `${CODE.START_AP} ${INCREMENTS} ${BOTH_DONE} ${CODE.END}`,
    ap: `${INCREMENTS} ${CODE.HALT}`,
  });
  assertEquals(word(0x5030), 200_000);
  assertEquals(word(0x503e), 200_000);
});

// 1000 rounds: meet at [5060h]; [esi] = 1; mfence; [ebp] = [edi]
const STORE_BUFFER = `31c9 f0ff0560500000 41 8d0409 390560500000 72f8
  c70601000000 0faef0 8b07 894500 83c640 83c740 83c504 81f9e8030000 72ce
  f0ff0548500000`;

Deno.test("a store before a fence is seen, or the other vCPU's is", async () => {
  const word = await run({
    bsp: `${CODE.START_AP} be00001000 bf00002000 bd00003000 ${STORE_BUFFER}
      ${BOTH_DONE} ${CODE.END}`,
    ap: `be00002000 bf00001000 bd00003400 ${STORE_BUFFER} ${CODE.HALT}`,
  });
  for (let round = 0; round < 1000; round++) {
    const seen = word(0x30_0000 + 4 * round) + word(0x34_0000 + 4 * round);
    assert(seen > 0, `round ${round}: neither saw the other's store`);
  }
});

Deno.test("new code, writes to code and calls of devices in both vCPUs come to an end", async () => {
  const word = await run({
    // 3000 times: ret to page 20000h + n mod 256; call it. Then tell, and wait
    bsp:
      `${CODE.START_AP} b9e8030000 89c8 25ff000000 c1e00c 0500000200 c600c3 ffd0
      49 75e9 c7055050000001000000 f390 833d5450000001 75f5 ${CODE.END}`,
    // in al, 71h; count; ret to page 20800h + n mod 256; call it; until told
    ap: `e471 ff0558500000 a158500000 25ff000000 c1e00c 0500080200 c600c3 ffd0
      833d5050000001 75d8 c7055450000001000000 ${CODE.HALT}`,
  });
  assert(word(0x5058) > 0);
});

Deno.test("a machine whose vCPUs all halt with interrupts off is halted", async () => {
  await run({
    bsp: `${CODE.START_AP} ${CODE.HALT}`,
    ap: CODE.HALT,
  }, SUSPEND.HALT);
});

Deno.test("a triple fault of vCPU 1 ends the machine", async () => {
  await run({
    // lidt of an empty table; ud2
    ap: "0f011d00520000 0f0b",
    bsp: `${CODE.START_AP} ebfe`,
  }, SUSPEND.TRIPLEFAULT);
});

Deno.test("a port that no device has ends the machine with -e, from any vCPU", async () => {
  const strict = { "x86.strictio": "true" };
  const cases: readonly TestProgram[] = [
    { bsp: "66ba3412 ec", config: strict },
    { bsp: `${CODE.START_AP} ebfe`, ap: "66ba3412 ec", config: strict },
  ];
  for (const program of cases) {
    const { threads } = await buildMachine(program);
    threads.run();
    const end = await threads.ended;
    const at = program.ap === undefined ? BSP_START + 4 : 0x9004;
    assertEquals(end, {
      kind: "error",
      message: `Unhandled inb 0x1234 at 0x${at.toString(16)}`,
      status: 134,
    });
  }
});

Deno.test("a device that cannot be made is reported with bhyve's status", async () => {
  const error = await assertRejects(
    () => buildMachine({ bsp: CODE.HALT, config: { "pci.0.4.0.device": "x" } }),
    Error,
    'pci slot 0:4:0: unknown device "x"',
  );
  assertEquals((error as { status?: number }).status, 4);
});

Deno.test("requests are answered while the machine is stopped, runs, and is held", async () => {
  const { threads } = await buildMachine({
    // inc dword [5000h]; jmp back
    bsp: "ff0500500000ebf8",
  });
  const rip = async () =>
    (await threads.ioctl("VM_GET_REGISTER", { cpuid: 0, regnum: REGISTER.RIP }))
      .regval;
  assertEquals(await rip(), BigInt(BSP_START));
  threads.run();
  assert(await rip() <= BigInt(BSP_START + 6));
  await assertRejects(
    () => threads.ioctl("VM_RUN", { cpuid: 0, entry: null }),
    VmmError,
    "Device busy",
  );
  await threads.ioctl("VM_SUSPEND_CPU", { vcpuid: 0 });
  assertEquals(
    await threads.ioctl("VM_GET_CPUS", { which: 2 }),
    { cpus: [0] },
  );
  await rip();
  const count = () =>
    new DataView(threads.read(0x5000n, 4).buffer).getUint32(0);
  const held = count();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(count(), held);
  // jmp $ in place of the increment: held vCPUs hear of writes, too
  threads.write(BigInt(BSP_START), new Uint8Array([0xeb, 0xfe]));
  await threads.ioctl("VM_SET_REGISTER", {
    cpuid: 0,
    regnum: REGISTER.RIP,
    regval: BigInt(BSP_START),
  });
  await threads.ioctl("VM_RESUME_CPU", { vcpuid: 0 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(await rip(), BigInt(BSP_START));
  assertEquals(count(), held);
  const lapic = {
    vcpuid: 1,
    gpa: 0xfee0_0020n,
    access_width: 2,
  };
  const { value } = await threads.ioctl("VM_GET_KERNEMU_DEV", lapic);
  assertEquals(value, 0x0100_0000n);
  await threads.ioctl("VM_SUSPEND", { how: SUSPEND.POWEROFF });
  await assertRejects(
    () => threads.ioctl("VM_SUSPEND", { how: SUSPEND.RESET }),
    VmmError,
    "Operation already in progress",
  );
  const end = await threads.ended;
  assertObjectMatch(end, { kind: "suspended", how: SUSPEND.POWEROFF });
  await assertRejects(rip, VmmError, "Device not configured");
});

Deno.test("four idle vCPUs and one that counts all stop when the machine is suspended", async () => {
  const { threads } = await buildMachine({ vcpus: 4, bsp: "ebfe" });
  threads.run();
  assertEquals(
    await threads.ioctl("VM_GET_CPUS", { which: 0 }),
    { cpus: [0, 1, 2, 3] },
  );
  const stats = await threads.ioctl("VM_STATS", { cpuid: 3, index: 0 });
  assertEquals(stats.statbuf.length > 0, true);
  await threads.ioctl("VM_SUSPEND", { how: SUSPEND.RESET });
  assertEquals((await threads.ended).kind, "suspended");
});
