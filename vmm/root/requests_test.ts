// The requests' checks and errno, on a machine at rest.

import { assertEquals, assertThrows } from "@std/assert";
import { REGISTER } from "../cpu/registers.ts";
import { type ErrnoName, VmmError } from "../errno.ts";
import {
  MAX_VCPUS,
  requestWord,
  VM_IOCTLS,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "../ioctl.ts";
import { requirePayload, requireRequest } from "../ioctl_fields.ts";
import { STATISTICS } from "../statistics.ts";
import { emptyState } from "./node.ts";
import { RestingMachine } from "./resting_machine.ts";

function machine(): RestingMachine {
  return new RestingMachine(emptyState(), () => []);
}

function does<R extends VmRequest>(
  target: RestingMachine,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  return target.ioctl(request, requirePayload(request, payload));
}

function refuses<R extends VmRequest>(
  code: ErrnoName,
  target: RestingMachine,
  request: R,
  payload: unknown,
): void {
  const act = () => does(target, request, payload as VmIn<R>);
  const error = assertThrows(act, VmmError);
  assertEquals(error.code, code, `${request}: ${error.message}`);
}

Deno.test("request words are those of the header", () => {
  const words: readonly (readonly [VmRequest, number])[] = [
    ["VM_RUN", 0x80207601],
    ["VM_REINIT", 0x20007605],
    ["VM_GET_REGISTER", 0xc0107615],
    ["VM_SET_SEGMENT_DESCRIPTOR", 0x80187616],
    ["VM_IOAPIC_PINCOUNT", 0x40047626],
    ["VM_STATS", 0xc2207632],
    ["VM_GET_TOPOLOGY", 0x40087640],
    ["VM_RTC_GETTIME", 0x40087667],
  ];
  for (const [request, word] of words) {
    assertEquals(requestWord(VM_IOCTLS[request]), word, request);
  }
});

Deno.test("what is no request, or has a field that it should not, is refused", () => {
  assertEquals(
    assertThrows(() => requireRequest("toString"), VmmError).code,
    "ENOTTY",
  );
  const target = machine();
  const good = { cpuid: 0, regnum: 0 };
  assertEquals(does(target, "VM_GET_REGISTER", good).regval, 0n);
  const bad: readonly unknown[] = [
    ...[null, undefined, 1, "x", [], {}],
    ...[{ cpuid: 0 }, { ...good, extra: 1 }, { ...good, cpuid: 0.5 }],
    ...[{ ...good, cpuid: "0" }, { ...good, regnum: NaN }],
    ...[{ ...good, regnum: -1 }, { ...good, cpuid: 2 ** 31 }],
  ];
  for (const payload of bad) {
    refuses("EINVAL", target, "VM_GET_REGISTER", payload);
  }
});

Deno.test("a vCPU's number is checked, and -1 where it means all", () => {
  const target = machine();
  for (const cpuid of [-1, MAX_VCPUS]) {
    refuses("EINVAL", target, "VM_GET_REGISTER", { cpuid, regnum: 0 });
    refuses("EINVAL", target, "VM_INJECT_NMI", { cpuid });
  }
  does(target, "VM_SUSPEND_CPU", { vcpuid: -1 });
  does(target, "VM_LAPIC_LOCAL_IRQ", { cpuid: -1, vector: 0 });
});

Deno.test("registers and descriptors by number", () => {
  const target = machine();
  const set = { cpuid: 3, regnum: REGISTER.RSI, regval: 2n ** 64n - 1n };
  does(target, "VM_SET_REGISTER", set);
  const { regvals } = does(target, "VM_GET_REGISTER_SET", {
    cpuid: 3,
    regnums: [REGISTER.RSI, REGISTER.RIP],
  });
  assertEquals(regvals, [2n ** 64n - 1n, 0xfff0n]);
  const one = { cpuid: 0, regnum: 49 };
  refuses("EINVAL", target, "VM_GET_REGISTER", one);
  refuses("EINVAL", target, "VM_GET_REGISTER", { cpuid: 0, regnum: 30 });
  refuses("EINVAL", target, "VM_SET_REGISTER", { ...one, regval: 0n });
  refuses("EINVAL", target, "VM_GET_SEGMENT_DESCRIPTOR", {
    cpuid: 0,
    regnum: REGISTER.RAX,
  });
  const desc = { base: 5n, limit: 0xffff, access: 0x93 };
  const gdtr = { cpuid: 0, regnum: REGISTER.GDTR };
  does(target, "VM_SET_SEGMENT_DESCRIPTOR", { ...gdtr, desc });
  assertEquals(does(target, "VM_GET_SEGMENT_DESCRIPTOR", gdtr).desc, desc);
  refuses("EINVAL", target, "VM_SET_REGISTER_SET", {
    cpuid: 0,
    regnums: [0, 1],
    regvals: [0n],
  });
});

Deno.test("the control block can be read and not written", () => {
  const target = machine();
  const regnum = 0x8000_0000 + (4 << 16) + 0x58;
  const { regval } = does(target, "VM_GET_REGISTER", { cpuid: 0, regnum });
  assertEquals(regval, 1n);
  refuses("EINVAL", target, "VM_SET_REGISTER", { cpuid: 0, regnum, regval });
});

Deno.test("capabilities: unknown, fixed, settable", () => {
  const target = machine();
  const cap = (captype: number) => ({ cpuid: 0, captype });
  refuses("EINVAL", target, "VM_GET_CAPABILITY", cap(11));
  refuses("EINVAL", target, "VM_GET_CAPABILITY", cap(-1));
  const rdpid = { ...cap(6), capval: 0 };
  refuses("EOPNOTSUPP", target, "VM_SET_CAPABILITY", rdpid);
  refuses("EINVAL", target, "VM_SET_CAPABILITY", { ...cap(3), capval: 0 });
  does(target, "VM_SET_CAPABILITY", { ...cap(0), capval: 1 });
  assertEquals(does(target, "VM_GET_CAPABILITY", cap(0)).capval, 1);
});

Deno.test("events: exceptions wait one at a time, intinfo words are checked", () => {
  const target = machine();
  const exception = {
    cpuid: 0,
    vector: 13,
    error_code: 8,
    error_code_valid: true,
    restart_instruction: true,
  };
  for (const vector of [8, 32, -1]) {
    refuses("EINVAL", target, "VM_INJECT_EXCEPTION", { ...exception, vector });
  }
  does(target, "VM_INJECT_EXCEPTION", exception);
  refuses("EBUSY", target, "VM_INJECT_EXCEPTION", exception);
  const { info1, info2 } = does(target, "VM_GET_INTINFO", { vcpuid: 0 });
  assertEquals([info1, info2], [0n, 8n << 32n | 0x8000_0b0dn]);
  const set = (word: bigint) => ({ vcpuid: 0, info1: word });
  for (const word of [0x8000_0202n, 0x8000_0203n, 0x8000_0320n]) {
    const isGood = word === 0x8000_0202n;
    if (isGood) does(target, "VM_SET_INTINFO", set(word));
    else refuses("EINVAL", target, "VM_SET_INTINFO", set(word));
  }
  refuses("EINVAL", target, "VM_SET_INTINFO", set(0x8000_1020n));
  refuses("EINVAL", target, "VM_SET_INTINFO", set(0x8000_0120n));
});

Deno.test("sets of vCPUs, suspension and reset", () => {
  const target = machine();
  does(target, "VM_ACTIVATE_CPU", { vcpuid: 0 });
  refuses("EBUSY", target, "VM_ACTIVATE_CPU", { vcpuid: 0 });
  refuses("EINVAL", target, "VM_SUSPEND_CPU", { vcpuid: 1 });
  does(target, "VM_SUSPEND_CPU", { vcpuid: 0 });
  const cpus = (which: number) => does(target, "VM_GET_CPUS", { which }).cpus;
  assertEquals([cpus(0), cpus(1), cpus(2)], [[0], [], [0]]);
  refuses("EINVAL", target, "VM_GET_CPUS", { which: 3 });
  does(target, "VM_RESUME_CPU", { vcpuid: 0 });
  refuses("EINVAL", target, "VM_RESUME_CPU", { vcpuid: 0 });
  for (const how of [0, 6, -1]) {
    refuses("EINVAL", target, "VM_SUSPEND", { how });
  }
  does(target, "VM_SUSPEND", { how: 1 });
  refuses("EALREADY", target, "VM_SUSPEND", { how: 2 });
  does(target, "VM_SET_REGISTER", { cpuid: 0, regnum: 0, regval: 7n });
  does(target, "VM_RTC_WRITE", { offset: 50 + 1, value: 9 });
  does(target, "VM_REINIT", {});
  assertEquals(cpus(0), []);
  const rax = does(target, "VM_GET_REGISTER", { cpuid: 0, regnum: 0 });
  assertEquals(rax.regval, 0n);
  assertEquals(does(target, "VM_RTC_READ", { offset: 51 }).value, 9);
  does(target, "VM_SUSPEND", { how: 2 });
});

Deno.test("interrupt controllers: good pins, vectors, addresses", () => {
  const target = machine();
  assertEquals(does(target, "VM_IOAPIC_PINCOUNT", {}).pincount, 32);
  does(target, "VM_IOAPIC_PULSE_IRQ", { irq: 31 });
  refuses("EINVAL", target, "VM_IOAPIC_ASSERT_IRQ", { irq: 32 });
  refuses("EINVAL", target, "VM_LAPIC_IRQ", { cpuid: 0, vector: 15 });
  refuses("EINVAL", target, "VM_LAPIC_LOCAL_IRQ", { cpuid: 0, vector: 7 });
  refuses("EINVAL", target, "VM_LAPIC_MSI", { addr: 0xfed0_0000n, msg: 0n });
  does(target, "VM_LAPIC_MSI", { addr: 0xfee0_0000n, msg: 0x30n });
  does(target, "VM_ISA_PULSE_IRQ", { atpic_irq: 4, ioapic_irq: -1 });
  const bad = { atpic_irq: 16, ioapic_irq: -1 };
  refuses("EINVAL", target, "VM_ISA_ASSERT_IRQ", bad);
  const trigger = { atpic_irq: 8, trigger: 1 };
  refuses("EINVAL", target, "VM_ISA_SET_IRQ_TRIGGER", trigger);
  does(target, "VM_ISA_SET_IRQ_TRIGGER", { atpic_irq: 5, trigger: 1 });
});

Deno.test("devices of vmm(4) are reached by address, others not", () => {
  const target = machine();
  const read = (gpa: bigint, access_width = 2) =>
    does(target, "VM_GET_KERNEMU_DEV", { vcpuid: 2, gpa, access_width }).value;
  assertEquals(read(0xfee0_0020n), 2n << 24n);
  assertEquals(read(0xfed0_0000n), 0x8086_0701n);
  const { capabilities } = does(target, "VM_GET_HPET_CAPABILITIES", {});
  assertEquals(capabilities, 0x8086_0701);
  for (const gpa of [0xfee0_1000n, 0xfed0_03ffn, 0n, 0xfec0_0ffdn]) {
    refuses("EINVAL", target, "VM_GET_KERNEMU_DEV", {
      vcpuid: 0,
      gpa,
      access_width: 2,
    });
  }
});

Deno.test("the clock: memory that is not the clock's, and the time", () => {
  const target = machine();
  does(target, "VM_RTC_WRITE", { offset: 127, value: 255 });
  assertEquals(does(target, "VM_RTC_READ", { offset: 127 }).value, 255);
  for (const offset of [13, 0x32, 128, -1]) {
    refuses("EINVAL", target, "VM_RTC_WRITE", { offset, value: 0 });
  }
  refuses("EINVAL", target, "VM_RTC_WRITE", { offset: 127, value: 256 });
  does(target, "VM_RTC_SETTIME", { secs: 1_000_000_000n });
  const { secs } = does(target, "VM_RTC_GETTIME", {});
  assertEquals(secs - secs % 10n, 1_000_000_000n);
});

Deno.test("counters have names, in pages of 64", () => {
  const target = machine();
  const page = does(target, "VM_STATS", { cpuid: 0, index: 0 });
  assertEquals(page.statbuf.length, Math.min(64, STATISTICS.length));
  const last = STATISTICS.length;
  const end = does(target, "VM_STATS", { cpuid: 0, index: last });
  assertEquals(end.statbuf, []);
  refuses("ENOENT", target, "VM_STATS", { cpuid: 0, index: last + 1 });
  refuses("EINVAL", target, "VM_STATS", { cpuid: 0, index: -1 });
  const { desc } = does(target, "VM_STAT_DESC", { index: 1 });
  assertEquals(desc, "total number of vm exits");
  refuses("EINVAL", target, "VM_STAT_DESC", { index: last });
});

Deno.test("topologies beyond 16 vCPUs are refused", () => {
  const target = machine();
  const topology = { sockets: 2, cores: 4, threads: 2, maxcpus: 0 };
  does(target, "VM_SET_TOPOLOGY", topology);
  assertEquals(does(target, "VM_GET_TOPOLOGY", {}).maxcpus, MAX_VCPUS);
  refuses("EINVAL", target, "VM_SET_TOPOLOGY", { ...topology, cores: 5 });
  refuses("EINVAL", target, "VM_SET_TOPOLOGY", { ...topology, threads: 0 });
});

Deno.test("a state goes through save and is the same again", () => {
  const target = machine();
  does(target, "VM_SET_REGISTER", { cpuid: 1, regnum: 3, regval: 77n });
  does(target, "VM_SET_X2APIC_STATE", { cpuid: 1, state: 1 });
  does(target, "VM_INJECT_NMI", { cpuid: 1 });
  does(target, "VM_SET_CAPABILITY", { cpuid: 1, captype: 5, capval: 1 });
  const state = JSON.parse(JSON.stringify(target.save()));
  const again = new RestingMachine(state, () => []);
  const get = { cpuid: 1 };
  assertEquals(
    does(again, "VM_GET_REGISTER", { ...get, regnum: 3 }).regval,
    77n,
  );
  assertEquals(does(again, "VM_GET_X2APIC_STATE", get).state, 1);
  assertEquals(
    does(again, "VM_GET_CAPABILITY", { ...get, captype: 5 }).capval,
    1,
  );
  assertEquals(again.save().vcpus[1]!.cpu.nmi, true);
});
