// Every line that is a register or a field of the control block, to the byte.

import { assertEquals } from "@std/assert";
import { REGISTER } from "../vmm/cpu/registers.ts";
import { VMCB_OFFSET, vmcbAccess } from "../vmm/vmcb_layout.ts";
import { type Answers, printed } from "./testing.ts";

type Registers = Readonly<Record<number, bigint>>;

function machine(registers: Registers): Answers {
  return {
    VM_GET_REGISTER: ({ cpuid, regnum }) => ({
      regval: cpuid === 3 ? registers[regnum] ?? 0n : 0xbadn,
    }),
  };
}

function values(options: string[], registers: Registers): Promise<string[]> {
  return printed(["--cpu=3", ...options], machine(registers));
}

Deno.test("General registers have two TABs and 16 digits, RFLAGS one TAB", async () => {
  const names = ["efer", "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2"]
    .concat("dr3", "dr6", "dr7", "rsp", "rip", "rax", "rbx", "rcx", "rdx")
    .concat("rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13")
    .concat("r14", "r15");
  const numbers = REGISTER as Readonly<Record<string, number>>;
  const registers = Object.fromEntries(
    names.map((name, n) => [numbers[name.toUpperCase()], BigInt(n + 16)]),
  );
  const lines = await values(
    [...names.map((name) => `--get-${name}`), "--get-rflags"].reverse(),
    { ...registers, [REGISTER.RFLAGS]: 0x246n },
  );
  assertEquals(lines, [
    ...names.map((name, n) =>
      `${name}[3]\t\t0x00000000000000${(n + 16).toString(16)}`
    ),
    "rflags[3]\t0x0000000000000246",
  ]);
});

Deno.test("Selectors have four digits and an order of their own", async () => {
  const options = ["ldtr", "tr", "ss", "gs", "fs", "es", "ds", "cs"]
    .map((name) => `--get-${name}`);
  const lines = await values(options, { [REGISTER.CS]: 0x33n });
  assertEquals(lines, [
    "cs[3]\t\t0x0033",
    ...["ds", "es", "fs", "gs", "ss", "tr", "ldtr"].map((name) =>
      `${name}[3]\t\t0x0000`
    ),
  ]);
});

Deno.test("Hidden parts are base/limit/access, tables base/limit", async () => {
  const names = ["ds", "es", "fs", "gs", "ss", "cs", "tr", "ldtr"];
  const options = [...names, "gdtr", "idtr"].map((n) => `--get-desc-${n}`);
  const lines = await printed(options, {
    VM_GET_SEGMENT_DESCRIPTOR: ({ regnum }) => ({
      desc: regnum === REGISTER.CS
        ? { base: 0n, limit: 0xffff_ffff, access: 0xa09b }
        : { base: BigInt(regnum), limit: 0x7f, access: 0x1_0000 },
    }),
  });
  const hidden = (name: string, number: number) =>
    `${name} desc[0]\t0x00000000000000${
      number.toString(16)
    }/0x0000007f/0x00010000`;
  assertEquals(lines, [
    hidden("ds", REGISTER.DS),
    hidden("es", REGISTER.ES),
    hidden("fs", REGISTER.FS),
    hidden("gs", REGISTER.GS),
    hidden("ss", REGISTER.SS),
    "cs desc[0]\t0x0000000000000000/0xffffffff/0x0000a09b",
    hidden("tr", REGISTER.TR),
    hidden("ldtr", REGISTER.LDTR),
    "gdtr[0]\t\t0x000000000000001f/0x0000007f",
    "idtr[0]\t\t0x000000000000001e/0x0000007f",
  ]);
});

Deno.test("Fields of the control block, in their order", async () => {
  const options = ["exit-reason", "guest-sysenter", "guest-pat", "vmcb-asid"]
    .concat("msr-bitmap-address", "tsc-offset", "io-bitmap-address")
    .concat("exception-bitmap", "eptp", "avic-table", "avic-backing-page")
    .concat("avic-apic-bar", "vmcb-virq", "vmcb-exit-details")
    .concat("vmcb-tlb-ctrl", "vmcb-intercepts");
  const at = (field: keyof typeof VMCB_OFFSET, bytes: number) =>
    vmcbAccess(VMCB_OFFSET[field], bytes);
  const lines = await values(options.map((name) => `--get-${name}`), {
    [at("CR_INTERCEPT", 4)]: 1n,
    [at("DR_INTERCEPT", 4)]: 2n,
    [at("EXC_INTERCEPT", 4)]: 0x4008n,
    [at("INST1_INTERCEPT", 4)]: 0x9800_0000n,
    [at("INST2_INTERCEPT", 4)]: 0xc00n,
    [at("TLB_CTRL", 4)]: 3n,
    [at("EXITINFO1", 8)]: 0x3f8_0011n,
    [at("EXITINFO2", 8)]: 0x1002n,
    [at("EXITINTINFO", 8)]: 0x8000_0020n,
    [at("VIRQ", 8)]: 5n,
    [at("AVIC_BAR", 8)]: 6n,
    [at("AVIC_PAGE", 8)]: 7n,
    [at("AVIC_LOGICAL", 8)]: 8n,
    [at("AVIC_PHYSICAL", 8)]: 9n,
    [at("NPT_BASE", 8)]: 0x1000n,
    [at("TSC_OFFSET", 8)]: 0xffff_ffff_ffff_fff0n,
    [at("ASID", 4)]: 1n,
    [at("GUEST_PAT", 8)]: 0x0007_0406_0007_0406n,
    [at("SYSENTER_CS", 8)]: 0x10n,
    [at("SYSENTER_EIP", 8)]: 0xffff_ffff_8100_0000n,
    [at("EXIT_REASON", 8)]: 0x7bn,
  });
  assertEquals(lines, [
    "cr_intercept[3]\t0x00000001",
    "dr_intercept[3]\t0x00000002",
    "exc_intercept[3]\t0x00004008",
    "inst1_intercept[3]\t0x98000000",
    "inst2_intercept[3]\t0x00000c00",
    "TLB ctrl[3]\t0x0000000000000003",
    "exitinfo1[3]\t0x0000000003f80011",
    "exitinfo2[3]\t0x0000000000001002",
    "exitintinfo[3]\t0x0000000080000020",
    "v_irq/tpr[3]\t0x0000000000000005",
    "AVIC apic_bar[3]\t0x0000000000000006",
    "AVIC backing page[3]\t0x0000000000000007",
    "AVIC logical table[3]\t0x0000000000000008",
    "AVIC physical table[3]\t0x0000000000000009",
    "rvi/npt[3]\t\t0x0000000000001000",
    "exception_bitmap[3]\t0x4008",
    "io_bitmap[3]\t0",
    "tsc_offset[3]\t0xfffffffffffffff0",
    "msr_bitmap[3]\t\t0",
    "asid[3]\t\t0x0001",
    "guest_pat[3]\t\t0x0007040600070406",
    "guest_sysenter_cs[3]\t0x10",
    "guest_sysenter_sp[3]\t0",
    "guest_sysenter_ip[3]\t0xffffffff81000000",
    "exit_reason[3]\t0x7b",
  ]);
});

Deno.test("The MSR bitmap's registers are the processor's own", async () => {
  const lines = await values(["--get-msr-bitmap"], {});
  const has = (line: string) =>
    assertEquals(lines.filter((l) => l === line), [line]);
  has("MSR_TSC             [3]\t\tRW");
  has("MSR_SYSENTER_ESP_MSR[3]\t\tRW");
  has("MSR_PAT             [3]\t\tRW");
  has("MSR       0xfe      [3]\t\tR-");
  has("MSR       0xc0010010[3]\t\tRW");
  const efer = lines.indexOf("MSR_EFER            [3]\t\tRW");
  const nextRange = lines.indexOf("MSR       0xfe      [3]\t\tR-");
  assertEquals(efer >= 0 && efer < nextRange, true);
});
