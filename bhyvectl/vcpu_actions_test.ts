// Setting registers, capabilities, events, counters, and what a run prints.

import { assertEquals } from "@std/assert";
import { EXIT_CODE, type VmExit } from "../vmm/cpu/exits.ts";
import type { SegmentDescriptor } from "../vmm/cpu/options.ts";
import { REGISTER } from "../vmm/cpu/registers.ts";
import { VmmError } from "../vmm/errno.ts";
import { type Answers, ctl, printed } from "./testing.ts";
import { intinfoText } from "./vcpu_actions.ts";

Deno.test("Every setter writes its register, as 64 bits", async () => {
  const written = new Map<number, bigint>();
  const names = ["efer", "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2"]
    .concat("dr3", "dr6", "dr7", "rsp", "rip", "rax", "rflags", "cs", "ds")
    .concat("es", "fs", "gs", "ss", "tr", "ldtr");
  const options = names.map((name, n) => `--set-${name}=${n}`);
  const { status } = await ctl([...options, "--set-rax=-1", "--cpu=2"], {
    VM_SET_REGISTER: ({ cpuid, regnum, regval }) => {
      assertEquals(cpuid, 2);
      written.set(regnum, regval);
      return {};
    },
  });
  assertEquals(status, 0);
  const numbers = REGISTER as Readonly<Record<string, number>>;
  const expected = names.map((name, n) => [
    numbers[name.toUpperCase()],
    name === "rax" ? 0xffff_ffff_ffff_ffffn : BigInt(n),
  ]);
  assertEquals([...written], expected as [number, bigint][]);
});

Deno.test("Hidden parts are set to the operands; tables have no access", async () => {
  const written = new Map<number, SegmentDescriptor>();
  const operands = ["--desc-base=0xffff0000", "--desc-limit=0x10000ffff"]
    .concat("--desc-access=0x93");
  const names = ["ds", "es", "fs", "gs", "ss", "cs", "tr", "ldtr", "gdtr"]
    .concat("idtr");
  const options = names.map((name) => `--set-desc-${name}`);
  await ctl([...options, ...operands], {
    VM_SET_SEGMENT_DESCRIPTOR: ({ regnum, desc }) => {
      written.set(regnum, desc);
      return {};
    },
  });
  const data = { base: 0xffff_0000n, limit: 0xffff, access: 0x93 };
  assertEquals(written.size, names.length);
  assertEquals(written.get(REGISTER.CS), data);
  assertEquals(written.get(REGISTER.LDTR), data);
  assertEquals(written.get(REGISTER.IDTR), { ...data, access: 0 });
});

/** A processor whose capability 0 is on, 4 does not exist, 9 cannot be read. */
const CAPABLE: Answers = {
  VM_GET_CAPABILITY: ({ captype }) => {
    if (captype === 4) throw new VmmError("ENOENT");
    if (captype === 9) throw new VmmError("EINVAL");
    return { capval: captype === 0 ? 1 : 0 };
  },
  VM_SET_CAPABILITY: ({ captype }) => {
    if (captype < 0) throw new VmmError("EINVAL");
    if (captype === 4) throw new VmmError("ENOENT");
    return {};
  },
};

Deno.test("--getcap prints one capability, or all", async () => {
  const get = (name: string) => ["--getcap", `--capname=${name}`];
  assertEquals(await printed(get("hlt_exit"), CAPABLE), [
    'Capability "hlt_exit" is set on vcpu 0',
  ]);
  assertEquals(await printed(get("enable_invpcid"), CAPABLE), [
    'Capability "enable_invpcid" is not available',
  ]);
  for (const args of [["--getcap"], get("nothing")]) {
    const { status, out } = await ctl(args, CAPABLE);
    const lines = out.split("\n");
    assertEquals(status, 255);
    assertEquals(lines[1], 'Capability "mtrap_exit" is not set on vcpu 0');
    assertEquals(lines[4], 'Capability "enable_invpcid" is not available');
    assertEquals(lines[8], 'Capability "ipi_exit" is not set on vcpu 0');
    assertEquals(lines.slice(9), ["errno = 22", ""]);
  }
});

Deno.test("--setcap is silent, or says what is wrong with the name", async () => {
  const set = (name: string) =>
    ctl(["--setcap=1", `--capname=${name}`], CAPABLE);
  assertEquals((await set("hlt_exit")).out, "");
  const missing = await set("enable_invpcid");
  assertEquals(
    missing.out,
    'Capability "enable_invpcid" is not available\nerrno = 2\n',
  );
  const unknown = await set("nothing");
  assertEquals([unknown.out, unknown.status], ["errno = 22\n", 255]);
  assertEquals((await ctl(["--setcap=1"], CAPABLE)).out, "errno = 22\n");
});

Deno.test("intinfo words in words", async () => {
  const valid = 1n << 31n;
  assertEquals(intinfoText(0x20n), "n/a");
  assertEquals(intinfoText(valid | 0x20n), "extint vector 32");
  assertEquals(intinfoText(valid | 2n << 8n | 2n), "nmi vector 2");
  assertEquals(intinfoText(valid | 4n << 8n | 0x80n), "swint vector 128");
  const fault = valid | 3n << 8n | 14n;
  assertEquals(intinfoText(fault), "exception vector 14");
  const withCode = fault | 1n << 11n;
  assertEquals(intinfoText(withCode), "exception vector 14 errcode 0");
  assertEquals(
    await printed(["--get-intinfo"], {
      VM_GET_INTINFO: () => ({ info1: withCode | 6n << 32n, info2: 0n }),
    }),
    ["pending:\texception vector 14 errcode 0x6", "current:\tn/a"],
  );
});

Deno.test("--get-stats: 40 columns, a TAB, a signed number", async () => {
  const names = ["total number of vm exits", "x".repeat(41)];
  const answers: Answers = {
    VM_STATS: ({ index }) => ({
      tv: [0, 0],
      statbuf: index === 0 ? [17n, 0xffff_ffff_ffff_ffffn, 1n] : [],
    }),
    VM_STAT_DESC: ({ index }) => {
      const desc = names[index];
      if (desc === undefined) throw new VmmError("EINVAL");
      return { desc };
    },
  };
  assertEquals(await printed(["--get-stats", "--cpu=1"], answers), [
    "vcpu1 stats:",
    "total number of vm exits                \t17",
    `${"x".repeat(41)}\t-1`,
    `${"(null)".padEnd(40)}\t1`,
  ]);
});

Deno.test("Counters that cannot be had are no error", async () => {
  const { status, out } = await ctl(["--get-stats"], {
    VM_STATS: () => {
      throw new VmmError("EINVAL");
    },
  });
  assertEquals([status, out], [0, ""]);
});

Deno.test("--run prints the exit, or that there was none", async () => {
  const run = (exit: Partial<VmExit>) =>
    printed(["--run", "--cpu=1"], {
      VM_RUN: () => ({
        vm_exit: { rip: 0xfff0n, length: 2, ...exit } as VmExit,
      }),
    });
  const head = ["vm exit[1]", "\trip\t\t0x000000000000fff0"]
    .concat("\tinst_length\t2");
  const port = { code: EXIT_CODE.INOUT, port: 0x80, bytes: 1 } as const;
  const out = { ...port, in: false, string: false, rep: false, value: 0xab };
  assertEquals(await run(out), [
    ...head,
    "\treason\t\tINOUT",
    "\tdirection\tOUT",
    "\tbytes\t\t1",
    "\tflags\t\t",
    "\tport\t\t0x0080",
    "\teax\t\t0x000000ab",
  ]);
  const ins = { ...port, in: true, string: true, rep: true, value: 0 };
  assertEquals((await run(ins)).slice(4, 7), [
    "\tdirection\tIN",
    "\tbytes\t\t1",
    "\tflags\t\tSTRING REP ",
  ]);
  assertEquals(await run({ code: EXIT_CODE.HLT }), [
    ...head,
    "*** unknown vm run exitcode 5",
  ]);
  const failed = await ctl(["--run"], {
    VM_RUN: () => {
      throw new VmmError("EINVAL");
    },
  });
  assertEquals(failed.out, "vm_run error -1\nerrno = 22\n");
});

Deno.test("x2APIC, NMI and local interrupts", async () => {
  const seen: unknown[] = [];
  const note = (payload: unknown) => {
    seen.push(payload);
    return {};
  };
  const answers: Answers = {
    VM_SET_X2APIC_STATE: note,
    VM_GET_X2APIC_STATE: () => ({ state: 1 }),
    VM_INJECT_NMI: note,
    VM_LAPIC_LOCAL_IRQ: note,
  };
  const args = ["--get-x2apic-state", "--set-x2apic-state=0x1"];
  const lines = await printed(
    [...args, "--inject-nmi", "--assert-lapic-lvt=2"],
    answers,
  );
  assertEquals(lines, ["x2apic_state[0]\t1"]);
  assertEquals(seen, [
    { cpuid: 0, state: 1 },
    { cpuid: 0 },
    { cpuid: 0, vector: 2 },
  ]);
  const none = await ctl(["--assert-lapic-lvt=-1"], answers);
  assertEquals([none.status, none.requests], [0, []]);
});
