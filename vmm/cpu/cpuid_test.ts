// CPUID: features, clamping, topology, and that every feature shown works.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Code, CpuidFeature, Decoder, Instruction } from "iced-x86";
import {
  Cpuid,
  type CpuidConfig,
  CpuidError,
  type Feature,
  FEATURES,
  type Vendor,
} from "./cpuid.ts";
import { FORMS } from "./forms/by_code.ts";
import { InstructionSet } from "./instruction_set.ts";
import { VECTOR } from "./runtime/traps.ts";
import { TestMachine } from "./testing.ts";

const VENDORS: readonly Vendor[] = ["amd", "intel"];
const STATE = { cr4: 0, xcr0: 1 };

function cpuid(config: Partial<CpuidConfig> = {}): Cpuid {
  return new Cpuid({
    vendor: "amd",
    vcpu: 0,
    sockets: 1,
    cores: 1,
    threads: 1,
    x2apic: false,
    ...config,
  });
}

function instructions(config: Partial<CpuidConfig> = {}): InstructionSet {
  return new InstructionSet(cpuid(config));
}

function text(...words: number[]): string {
  return new TextDecoder().decode(
    new Uint8Array(Uint32Array.from(words).buffer),
  );
}

function decode(hex: string, options: number): Code {
  const bytes = Uint8Array.from(
    hex.match(/../g) ?? [],
    (byte) => parseInt(byte, 16),
  );
  const decoder = new Decoder(64, bytes, options);
  const instruction = decoder.decode();
  const { code } = instruction;
  instruction.free();
  decoder.free();
  return code;
}

Deno.test("CPUID leaf 0 names the vendor", () => {
  const [, b, c, d] = cpuid().query(0, 0, STATE);
  assertEquals(text(b, d, c), "AuthenticAMD");
  const [, eb, ec, ed] = cpuid({ vendor: "intel" }).query(0, 0, STATE);
  assertEquals(text(eb, ed, ec), "GenuineIntel");
});

Deno.test("CPUID 4000_0000h is bhyve's", () => {
  const [max, b, c, d] = cpuid().query(0x4000_0000, 0, STATE);
  assertEquals(max, 0x4000_0000);
  assertEquals(text(b, c, d), "bhyve bhyve ");
  const more = cpuid({ extendedDestinationId: true });
  assertEquals(more.query(0x4000_0000, 0, STATE)[0], 0x4000_0001);
  assertEquals(more.query(0x4000_0001, 0, STATE), [1, 0, 0, 0]);
});

Deno.test("CPUID clamps each range of leaves to its last", () => {
  for (const vendor of VENDORS) {
    const c = cpuid({ vendor, vcpu: 3, cores: 4, threads: 2 });
    const [basic] = c.query(0, 0, STATE);
    const [extended] = c.query(0x8000_0000, 0, STATE);
    const same = (leaf: number, as: number) =>
      assertEquals(c.query(leaf, 0, STATE), c.query(as, 0, STATE));
    same(basic + 1, basic);
    same(0x3fff_ffff, basic);
    same(0x4000_0100, basic);
    same(0x4000_00ff, 0x4000_0000);
    same(extended + 1, extended);
    same(0xffff_ffff, extended);
  }
});

Deno.test("CPUID shows the brand in three leaves", () => {
  const c = cpuid();
  const words = [2, 3, 4].flatMap((n) => [
    ...c.query(0x8000_0000 + n, 0, STATE),
  ]);
  assertEquals(text(...words).replace(/\0+$/, ""), "bhyve virtual CPU");
});

Deno.test("CPUID answers unsigned 32-bit numbers everywhere", () => {
  for (const vendor of VENDORS) {
    const c = cpuid({ vendor, vcpu: 255, sockets: 2, cores: 64, threads: 2 });
    for (const base of [0, 0x4000_0000, 0x8000_0000]) {
      for (let n = 0; n < 0x40; n++) {
        for (let subleaf = 0; subleaf < 5; subleaf++) {
          for (const word of c.query(base + n, subleaf, STATE)) {
            assertEquals(word, word >>> 0);
          }
        }
      }
    }
  }
});

Deno.test("CPUID leaf 1 has the APIC id and the number of threads", () => {
  const c = cpuid({ vcpu: 5, cores: 4, threads: 2 });
  const [, ebx] = c.query(1, 0, STATE);
  assertEquals(ebx >>> 24, 5);
  assertEquals(ebx >>> 16 & 0xff, 8);
  assertEquals((ebx >>> 8 & 0xff) * 8, 64);
  assertEquals(c.query(1, 0, { ...STATE, apicId: 9 })[1] >>> 24, 9);
});

Deno.test("CPUID shows x2APIC only where it is configured", () => {
  const bit = 1 << 21;
  assertEquals(cpuid().query(1, 0, STATE)[2] & bit, 0);
  assertEquals(cpuid({ x2apic: true }).query(1, 0, STATE)[2] & bit, bit);
});

Deno.test("CPUID hides what bhyve hides", () => {
  for (const vendor of VENDORS) {
    const c = cpuid({ vendor });
    const [, , ecx, edx] = c.query(1, 0, { cr4: 0x40000, xcr0: 7 });
    // MONITOR VMX SMX EST TM2 PDCM, TSC deadline, XSAVE, OSXSAVE, AVX
    for (const n of [3, 5, 6, 7, 8, 15, 24, 26, 27, 28]) {
      assertEquals(ecx >>> n & 1, 0, `1.ECX bit ${n}`);
    }
    // DS ACPI TM
    for (const n of [21, 22, 29]) {
      assertEquals(edx >>> n & 1, 0, `1.EDX bit ${n}`);
    }
    assertEquals(ecx >>> 31, 1);
    // SVM
    assertEquals(c.query(0x8000_0001, 0, STATE)[2] >>> 2 & 1, 0);
    for (const leaf of [0xa, 0xd, 0xf, 0x10, 0x15]) {
      assertEquals(c.query(leaf, 0, STATE), [0, 0, 0, 0]);
    }
    assertEquals(c.query(7, 1, STATE), [0, 0, 0, 0]);
    assertEquals(c.query(7, 0, STATE)[0], 0);
  }
});

Deno.test("CPUID leaf B describes Intel's threads and cores", () => {
  const c = cpuid({ vendor: "intel", vcpu: 7, cores: 3, threads: 2 });
  assertEquals(c.query(0xb, 0, STATE), [1, 2, 0x100, 7]);
  assertEquals(c.query(0xb, 1, STATE), [3, 6, 0x201, 7]);
  assertEquals(c.query(0xb, 2, STATE), [0, 0, 2, 0]);
  assertEquals(cpuid({ threads: 2 }).query(0xb, 0, STATE), [0, 0, 0, 0]);
});

Deno.test("CPUID leaf 4 shares Intel's caches by topology", () => {
  const c = cpuid({ vendor: "intel", cores: 4, threads: 2 });
  const sharers = (n: number) => (c.query(4, n, STATE)[0] >>> 14 & 0xfff) + 1;
  assertEquals([0, 1, 2, 3].map(sharers), [2, 2, 2, 8]);
  assertEquals(c.query(4, 0, STATE)[0] >>> 26, 3);
  assertEquals(c.query(4, 4, STATE), [0, 0, 0, 0]);
});

Deno.test("CPUID 8000_001Dh and Eh describe AMD's topology", () => {
  const c = cpuid({ vcpu: 11, sockets: 2, cores: 4, threads: 2 });
  const sharers = (n: number) =>
    (c.query(0x8000_001d, n, STATE)[0] >>> 14 & 0xfff) + 1;
  assertEquals([0, 1, 2, 3].map(sharers), [2, 2, 2, 8]);
  assertEquals(c.query(0x8000_001e, 0, STATE), [11, 0x105, 1, 0]);
  const [eax, , ecx] = c.query(0x8000_0008, 0, STATE);
  assertEquals(eax, 48 << 8 | 40);
  assertEquals(ecx, 3 << 12 | 7);
});

Deno.test("CPUID takes the width of physical addresses", () => {
  const c = cpuid({ vendor: "intel", physicalBits: 46 });
  assertEquals(c.physicalBits, 46);
  assertEquals(c.query(0x8000_0008, 0, STATE), [48 << 8 | 46, 0, 0, 0]);
});

Deno.test("CPUID repeats the features of leaf 1 only for AMD", () => {
  const repeated = 0x0183_f3ff;
  const amd = cpuid();
  const low = amd.query(1, 0, STATE)[3] & repeated;
  assertEquals(amd.query(0x8000_0001, 0, STATE)[3] & repeated, low);
  const intel = cpuid({ vendor: "intel" });
  assertEquals(intel.query(0x8000_0001, 0, STATE)[3] & repeated, 0);
});

Deno.test("CPUID says that nothing is executed ahead", () => {
  const amd = cpuid();
  // SSB_NO and BTC_NO; LFENCE serializes, null clears bases, AIBRS, SRSO_NO
  const amdBits = 1 << 26 | 1 << 29;
  assertEquals(amd.query(0x8000_0008, 0, STATE)[1], amdBits);
  assertEquals(amd.query(0x8000_0021, 0, STATE), [0x2000_0144, 0, 0, 0]);
  assertEquals(amd.query(7, 0, STATE)[3] >>> 26, 0);
  const intel = cpuid({ vendor: "intel" });
  // SPEC_CTRL and ARCH_CAPABILITIES
  assertEquals(intel.query(7, 0, STATE)[3] >>> 26, 0b1001);
  assertEquals(intel.query(0x8000_0008, 0, STATE)[1], 0);
});

Deno.test("CPUID.disabled hides a feature and its instructions", () => {
  const c = cpuid({ disabled: ["bmi2", "sse4_2"] });
  assert(!c.has("bmi2"));
  assert(c.has("bmi1"));
  const set = new InstructionSet(c);
  assert(!set.supports(Code.VEX_Pext_r32_r32_rm32));
  assert(!set.supports(Code.Crc32_r32_rm8));
  assert(set.supports(Code.VEX_Andn_r32_r32_rm32));
  assertEquals(c.query(7, 0, STATE)[1] >>> 8 & 1, 0);
  assertThrows(
    () => cpuid({ disabled: ["bmi9"] }),
    CpuidError,
    'Cannot hide CPU feature "bmi9"',
  );
});

Deno.test("Cpuid refuses impossible configurations", () => {
  const bad: Partial<CpuidConfig>[] = [
    { vcpu: -1 },
    { cores: 0 },
    { threads: 1.5 },
    { sockets: NaN },
    { physicalBits: 53 },
    { physicalBits: 31 },
  ];
  for (const config of bad) assertThrows(() => cpuid(config), CpuidError);
});

Deno.test("InstructionSet.supports() follows what is shown", () => {
  const c = instructions();
  const has = ["Add_rm64_r64", "Endbr64", "Nop_rm32", "Pause", "Syscall"]
    .map((name) => c.supports(Code[name as keyof typeof Code]));
  assertEquals(has, [true, false, true, true, true]);
  for (
    const code of [
      Code.VEX_Vpaddd_ymm_ymm_ymmm256,
      Code.Vmcall,
      Code.Vmrunq,
      Code.Monitorq,
      Code.Mwait,
      Code.Rsm,
      Code.Xgetbv,
      Code.Sha1msg1_xmm_xmmm128,
      Code.Femms,
      Code.Popw_CS,
    ]
  ) assert(!c.supports(code), Code[code]);
});

Deno.test("InstructionSet.decoderOptions makes prefixes of missing features void", () => {
  const { decoderOptions } = instructions();
  assertEquals(
    decode("f30f1efa", decoderOptions),
    Code.Reservednop_rm32_r32_0F1E,
  );
  assertEquals(decode("f30f09", decoderOptions), Code.Wbinvd);
  assertEquals(decode("f30fbdc0", decoderOptions), Code.Lzcnt_r32_rm32);
  const old = instructions({ disabled: ["abm", "bmi1"] });
  assertEquals(decode("f30fbdc0", old.decoderOptions), Code.Bsr_r32_rm32);
  assertEquals(decode("f30fbcc0", old.decoderOptions), Code.Bsf_r32_rm32);
});

Deno.test("FEATURES has no two rows for one bit of one vendor", () => {
  const seen = new Set<string>();
  for (const { leaf, register, bit, name } of FEATURES) {
    const key = `${leaf}:${register}:${bit}`;
    assert(!seen.has(key), `${name} is at ${key}, like another`);
    seen.add(key);
  }
});

// Forms that need no definition: those with a WAIT in front are decoded as two
// instructions, prefetches as reserved NOPs, and UD0 and UD1 raise #UD anyway.
const NOT_NEEDED =
  /^(Ud[01]|Prefetch|F(stenv|stcw|eni|disi|clex|init|setpm|save|stsw))/;

// Every instruction that a feature gates.
function codesOf({ gates }: Feature): Code[] {
  const wanted = new Set<number>(gates.map((name) => CpuidFeature[name]));
  const instruction = new Instruction();
  const codes = Object.values(Code).filter((code) => typeof code === "number");
  const gated = codes.filter((code) => {
    instruction.code = code;
    return instruction.cpuidFeatures().some((feature) => wanted.has(feature));
  });
  instruction.free();
  return gated;
}

Deno.test("every feature shown has its instructions", () => {
  for (const vendor of VENDORS) {
    const c = cpuid({ vendor, x2apic: true, cores: 2 });
    const set = new InstructionSet(c);
    const missing = FEATURES
      .filter((f) => c.has(f.name))
      .flatMap((f) => codesOf(f))
      .filter((code) => set.supports(code) && !FORMS.has(code))
      .map((code) => Code[code]!)
      .filter((name) => !NOT_NEEDED.test(name));
    assertEquals([...new Set(missing)], []);
  }
});

Deno.test("what a missing feature would add is a NOP where silicon has one", () => {
  // endbr32; cldemote [eax]; prefetchw [eax]; rdsspd eax; nop [eax]
  const machine = new TestMachine();
  for (const hex of ["f30f1efb", "0f1c00", "0f0d08", "f30f1ec8", "0f1f00"]) {
    machine.poke(0x8000, `${hex} 0f0b`);
    machine.enter("protected32");
    machine.set({ RIP: 0x8000, RAX: 0x9000 });
    const { rip } = machine.runToException();
    assertEquals(rip, BigInt(0x8000 + hex.length / 2), hex);
  }
});

Deno.test("CR4 takes only the bits of features that are shown", () => {
  const disabled = ["smep", "umip", "pcid"];
  const machine = new TestMachine({ cpuid: { disabled } });
  // mov cr4, eax; ud2
  machine.poke(0x8000, "0f22e0 0f0b");
  const refused: number[] = [];
  for (let bit = 0; bit < 32; bit++) {
    machine.enter("protected32");
    machine.set({ RIP: 0x8000, RAX: 1n << BigInt(bit) });
    if (machine.runToException().vector === VECTOR.GP) refused.push(bit);
  }
  // UMIP, LA57, VMXE, SMXE, PCIDE, OSXSAVE, SMEP and those that are not defined.
  assertEquals(
    refused,
    [11, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30]
      .concat([31]),
  );
});
