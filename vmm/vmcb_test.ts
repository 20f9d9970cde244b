// The control block's layout, what a real processor shows in it, and its refusals.

import { assertEquals, assertThrows } from "@std/assert";
import { VirtualCpu } from "./cpu/cpu.ts";
import { EXIT_CODE, SUSPEND, type VmExit } from "./cpu/exits.ts";
import { GuestMemory } from "./cpu/guest_memory.ts";
import { CAPABILITY } from "./cpu/options.ts";
import { REGISTER } from "./cpu/registers.ts";
import { VmmError } from "./errno.ts";
import { svmExit } from "./svm_exit.ts";
import { readVmcbField, refuseVmcbWrite, type VmcbFacts } from "./vmcb.ts";
import {
  VMCB_BYTES,
  VMCB_OFFSET,
  vmcbAccess,
  vmcbPart,
} from "./vmcb_layout.ts";

const memory = new GuestMemory(1 << 16);
memory.map({ gpa: 0, length: 1 << 16, offset: 0, writable: true });

/** Runs a test with a processor after reset and the facts around it. */
function withCpu(
  run: (
    cpu: VirtualCpu,
    facts: (more?: Partial<VmcbFacts>) => VmcbFacts,
  ) => void,
): void {
  const cpu = new VirtualCpu({ memory });
  const base = { cpu, lastExit: undefined, tscOffset: 0n, exitIntInfo: 0n };
  try {
    run(cpu, (more = {}) => ({ ...base, ...more }));
  } finally {
    cpu.close();
  }
}

function exit(more: Record<string, unknown>): VmExit {
  return { rip: 0x1000n, length: 0, ...more } as unknown as VmExit;
}

Deno.test("vmcbAccess() and vmcbPart() are each other's inverse", () => {
  assertEquals(vmcbAccess(0, 4), 0x8004_0000);
  assertEquals(vmcbAccess(VMCB_OFFSET.GUEST_PAT, 8), 0x8008_0668);
  for (
    const part of [{ offset: 0x70, bytes: 8 }, { offset: 0xfff, bytes: 1 }]
  ) {
    assertEquals(vmcbPart(vmcbAccess(part.offset, part.bytes)), part);
  }
  assertEquals(vmcbPart(REGISTER.TPR), undefined);
});

Deno.test("The saved state is the processor's", () => {
  withCpu((cpu, facts) => {
    cpu.setRegister(REGISTER.CR3, 0x1234_5000n);
    cpu.setRegister(REGISTER.CR2, 0xffff_8000_0000_0123n);
    cpu.setMsr(0x174, 0x10n);
    cpu.setMsr(0xc000_0082, 0xffff_ffff_8100_0000n);
    const read = (offset: number, bytes = 8) =>
      readVmcbField(offset, bytes, facts());
    assertEquals(read(VMCB_OFFSET.CR3), 0x1234_5000n);
    assertEquals(read(VMCB_OFFSET.CR2), 0xffff_8000_0000_0123n);
    assertEquals(read(VMCB_OFFSET.SYSENTER_CS), 0x10n);
    assertEquals(read(VMCB_OFFSET.LSTAR), 0xffff_ffff_8100_0000n);
    assertEquals(read(VMCB_OFFSET.GUEST_PAT), 0x0007_0406_0007_0406n);
    assertEquals(read(VMCB_OFFSET.RIP), 0xfff0n);
    assertEquals(read(VMCB_OFFSET.RFLAGS), 2n);
    assertEquals(read(VMCB_OFFSET.CPL, 1), 0n);
  });
});

Deno.test("Segments have attributes of 12 bits, tables only limit and base", () => {
  withCpu((cpu, facts) => {
    const code = { base: 0x1_0000n, limit: 0xffff_ffff, access: 0xa09b };
    cpu.setRegister(REGISTER.CS, 0x33n);
    cpu.setDescriptor(REGISTER.CS, code);
    cpu.setDescriptor(REGISTER.LDTR, { base: 0n, limit: 0, access: 0x1_0082 });
    cpu.setDescriptor(REGISTER.GDTR, { base: 0x7000n, limit: 0x7f, access: 0 });
    const cs = 0x410;
    const ldtr = 0x470;
    const gdtr = 0x460;
    const read = (offset: number, bytes: number) =>
      readVmcbField(offset, bytes, facts());
    assertEquals(read(cs, 8), 0xffff_ffff_0a9b_0033n);
    assertEquals(read(cs + 8, 8), 0x1_0000n);
    assertEquals(read(ldtr, 8), 0x0002_0000n);
    assertEquals(read(gdtr, 8), 0x7f_0000_0000n);
    assertEquals(read(gdtr + 8, 4), 0x7000n);
  });
});

Deno.test("A part can cut fields or span them", () => {
  withCpu((_, facts) => {
    const tscOffset = BigInt.asUintN(64, -2n);
    const read = (offset: number, bytes: number) =>
      readVmcbField(offset, bytes, facts({ tscOffset }));
    assertEquals(read(VMCB_OFFSET.TSC_OFFSET, 8), 0xffff_ffff_ffff_fffen);
    assertEquals(read(VMCB_OFFSET.TSC_OFFSET + 1, 1), 0xffn);
    // the offset's upper half and ASID 1
    assertEquals(read(VMCB_OFFSET.TSC_OFFSET + 4, 8), 0x1_ffff_ffffn);
  });
});

Deno.test("What only hardware has reads as zero", () => {
  withCpu((_, facts) => {
    const { IO_PERM, MSR_PERM, NPT_BASE, AVIC_BAR, AVIC_PAGE } = VMCB_OFFSET;
    const { AVIC_LOGICAL, AVIC_PHYSICAL, CR_INTERCEPT } = VMCB_OFFSET;
    const none: number[] = [
      ...[IO_PERM, MSR_PERM, NPT_BASE, AVIC_BAR, AVIC_PAGE],
      ...[AVIC_LOGICAL, AVIC_PHYSICAL, CR_INTERCEPT, VMCB_BYTES - 8],
    ];
    for (const offset of none) {
      assertEquals(readVmcbField(offset, 8, facts()), 0n, `${offset}`);
    }
  });
});

Deno.test("Capabilities and asked-for exceptions show as intercepts", () => {
  withCpu((cpu, facts) => {
    const intercepts = () =>
      [VMCB_OFFSET.EXC_INTERCEPT, VMCB_OFFSET.INST1_INTERCEPT]
        .map((offset) => readVmcbField(offset, 4, facts()));
    assertEquals(intercepts(), [0n, 0x9800_0000n]);
    cpu.exceptionExits = 1 << 14;
    cpu.setCapability(CAPABILITY.BPT_EXIT, 1);
    cpu.setCapability(CAPABILITY.HALT_EXIT, 1);
    cpu.setCapability(CAPABILITY.PAUSE_EXIT, 1);
    assertEquals(intercepts(), [0x4008n, 0x9980_0000n]);
  });
});

Deno.test("The exit's fields are those of the last exit", () => {
  withCpu((cpu, facts) => {
    memory.bytes.set([0xe6, 0x80], 0x1000); // out 80h, al
    cpu.setRegister(REGISTER.CS, 0n);
    cpu.setDescriptor(REGISTER.CS, { base: 0n, limit: 0xffff, access: 0x9b });
    cpu.setRegister(REGISTER.RIP, 0x1000n);
    const exitIntInfo = 0x8000_0020n;
    const none = facts();
    assertEquals(readVmcbField(VMCB_OFFSET.EXIT_REASON, 8, none), 0n);
    const after = facts({ lastExit: cpu.run(), exitIntInfo });
    const read = (offset: number) => readVmcbField(offset, 8, after);
    assertEquals(read(VMCB_OFFSET.EXIT_REASON), 0x7bn);
    assertEquals(read(VMCB_OFFSET.EXITINFO1), 0x80_0010n);
    assertEquals(read(VMCB_OFFSET.EXITINTINFO), exitIntInfo);
  });
});

Deno.test("svmExit() has a code and informations for each kind of exit", () => {
  const rows: [Record<string, unknown>, [number, bigint, bigint]][] = [
    [
      { code: EXIT_CODE.INOUT, port: 0x3f8, bytes: 2, in: true, string: true },
      [0x7b, 0x3f8_0025n, 0x1000n],
    ],
    [{ code: EXIT_CODE.RDMSR, msr: 0x10 }, [0x7c, 0n, 0n]],
    [{ code: EXIT_CODE.WRMSR, msr: 0x10, value: 0n }, [0x7c, 1n, 0n]],
    [{ code: EXIT_CODE.HLT }, [0x78, 0n, 0n]],
    [{ code: EXIT_CODE.PAUSE }, [0x77, 0n, 0n]],
    [{ code: EXIT_CODE.MONITOR }, [0x8a, 0n, 0n]],
    [{ code: EXIT_CODE.MWAIT }, [0x8b, 0n, 0n]],
    [{ code: EXIT_CODE.MTRAP }, [0x41, 0n, 0n]],
    [{ code: EXIT_CODE.DB }, [0x41, 0n, 0n]],
    [{ code: EXIT_CODE.BPT }, [0x43, 0n, 0n]],
    [{ code: EXIT_CODE.CPUID }, [0x72, 0n, 0n]],
    [
      { code: EXIT_CODE.INST_EMUL, gpa: 0xfebf_0000, write: true },
      [0x400, 0x1_0000_0006n, 0xfebf_0000n],
    ],
    [
      { code: EXIT_CODE.EXCEPTION, vector: 13, errorCode: 8 },
      [0x4d, 8n, 0n],
    ],
    [
      {
        code: EXIT_CODE.TASK_SWITCH,
        tssSelector: 0x28,
        reason: 2,
        errorCode: 0,
        errorCodeValid: false,
      },
      [0x7d, 0x28n, 1n << 38n],
    ],
    [
      { code: EXIT_CODE.SUSPENDED, how: SUSPEND.TRIPLEFAULT },
      [0x7f, 0n, 0n],
    ],
    [{ code: EXIT_CODE.SUSPENDED, how: SUSPEND.RESET }, [0x60, 0n, 0n]],
    [{ code: EXIT_CODE.REQIDLE }, [0x60, 0n, 0n]],
  ];
  for (const [record, [code, info1, info2]] of rows) {
    const expected = { code: BigInt(code), info1, info2 };
    assertEquals(svmExit(exit(record)), expected, `exit ${record.code}`);
  }
});

Deno.test("Bad parts and all writes are refused", () => {
  withCpu((_, facts) => {
    const bad = [[0, 0], [0, 3], [0, 16], [VMCB_BYTES - 4, 8], [-1, 1]]
      .concat([[NaN, 1]]);
    for (const [offset, bytes] of bad) {
      const error = assertThrows(
        () => readVmcbField(offset!, bytes!, facts()),
        VmmError,
      ) as VmmError;
      assertEquals(error.code, "EINVAL");
    }
  });
  const part = { offset: VMCB_OFFSET.NPT_BASE, bytes: 8 };
  const error = assertThrows(() => refuseVmcbWrite(part), VmmError) as VmmError;
  assertEquals(error.code, "EINVAL");
});
