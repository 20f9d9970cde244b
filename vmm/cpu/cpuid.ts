// What the virtual CPU shows through CPUID, and which instructions it therefore has
// (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). The treatment of each leaf
// is bhyve's. A feature is shown only where the CPU implements it. Nothing here needs
// a decoder; `instruction_set.ts` says which instructions follow.

import type { CpuidFeature } from "./iced/enumerations.ts";

/** Whose processor the virtual CPU looks like. */
export type Vendor = "amd" | "intel";

/** EAX, EBX, ECX and EDX, as unsigned 32-bit numbers. */
export type CpuidRegisters = readonly [number, number, number, number];

/** What a virtual CPU's CPUID depends on. */
export interface CpuidConfig {
  /** whose processor it looks like */
  readonly vendor: Vendor;
  /** number of the virtual CPU: its APIC id, too */
  readonly vcpu: number;
  /** packages of the machine */
  readonly sockets: number;
  /** cores in a package */
  readonly cores: number;
  /** threads in a core */
  readonly threads: number;
  /** whether the local APIC has its x2APIC mode */
  readonly x2apic: boolean;
  /** bits of a guest-physical address, 36 to 52: default 40 */
  readonly physicalBits?: number;
  /** whether MSIs can name APIC ids of 15 bits: default no */
  readonly extendedDestinationId?: boolean;
  /** names of features to hide */
  readonly disabled?: readonly string[];
}

/** The part of the CPU's state that CPUID shows. */
export interface CpuidState {
  /** CR4, of which OSXSAVE is seen */
  readonly cr4: number;
  /** XCR0, low word */
  readonly xcr0: number;
  /** APIC id, where it is not the number of the virtual CPU */
  readonly apicId?: number;
}

/** Wrong configuration of CPUID. */
export class CpuidError extends RangeError {
  /** the class, for messages */
  override readonly name = "CpuidError";
}

const EAX = 0;
const EBX = 1;
const ECX = 2;
const EDX = 3;

const OSXSAVE_CR4 = 1 << 18;
const OSXSAVE_BIT = 1 << 27;

/** Linear-address bits: four levels of paging. */
const LINEAR_BITS = 48;
const CACHE_LINE = 64;
const BRAND = "bhyve virtual CPU";
const HYPERVISOR_SIGNATURE = "bhyve bhyve ";

const MAX_BASIC = 0xd;
const HYPERVISOR_BASE = 0x4000_0000;
const EXTENDED_BASE = 0x8000_0000;

interface VendorFacts {
  readonly signature: string;
  /** CPUID 1 EAX: extended family and model, stepping */
  readonly version: number;
  readonly maxExtended: number;
}

// AMD: family 17h, model 31h. Intel: family 6, model 3Ah.
const VENDORS: Readonly<Record<Vendor, VendorFacts>> = {
  amd: {
    signature: "AuthenticAMD",
    version: 0x0083_0f10,
    maxExtended: 0x8000_0021,
  },
  intel: {
    signature: "GenuineIntel",
    version: 0x0003_06a9,
    maxExtended: 0x8000_0008,
  },
};

type Facts = Required<Omit<CpuidConfig, "disabled">>;

/** A group of instructions, as iced-x86 names it. */
export type InstructionGroup = keyof typeof CpuidFeature;

/** When a feature is shown. */
type Shown = boolean | Vendor | ((facts: Facts) => boolean);

/** One feature: a bit of CPUID and the instructions that come with it. */
export interface Feature {
  /** its name, as Linux has it in /proc/cpuinfo (but sse3 for pni) */
  readonly name: string;
  /** leaf of CPUID */
  readonly leaf: number;
  /** 0 to 3: EAX, EBX, ECX, EDX of subleaf 0 */
  readonly register: number;
  /** bit of that register */
  readonly bit: number;
  /** instructions that it gates, as iced-x86 groups them */
  readonly gates: readonly InstructionGroup[];
  /** when it is shown */
  readonly shown: Shown;
}

type FeatureRow = readonly [
  bit: number,
  name: string,
  gates?: readonly InstructionGroup[],
  shown?: Shown,
];

function rows(
  leaf: number,
  register: number,
  table: readonly FeatureRow[],
): Feature[] {
  return table.map(([bit, name, gates = [], shown = true]) => ({
    name,
    leaf,
    register,
    bit,
    gates,
    shown,
  }));
}

const OFF = false;
const isMulti = (facts: Facts) => facts.cores * facts.threads > 1;

// Bits of 1.EDX that AMD's 8000_0001.EDX repeats.
const REPEATED: readonly FeatureRow[] = [
  [0, "fpu", ["FPU", "FPU287", "FPU387"]],
  [1, "vme"],
  [2, "de"],
  [3, "pse"],
  [4, "tsc", ["TSC"]],
  [5, "msr", ["MSR"]],
  [6, "pae"],
  [7, "mce"],
  [8, "cx8", ["CX8"]],
  [9, "apic"],
  [12, "mtrr"],
  [13, "pge"],
  [14, "mca"],
  [15, "cmov", ["CMOV"]],
  [16, "pat"],
  [17, "pse36"],
  [23, "mmx", ["MMX"]],
  [24, "fxsr", ["FXSR"]],
];

// Nothing is ever executed ahead of what is certain, so no guest need pay for what
// makes up for it: retpolines, return thunks, split page tables. bhyve hides these bits,
// as the host's silicon is under its guests (AMD APM vol. 3, E.4.7 and E.4.17; for
// Intel see `ARCH_CAPABILITIES` in `msr.ts`).
const NO_SPECULATION: readonly Feature[] = [
  ...rows(0x8000_0008, EBX, [
    [26, "ssb_no", [], "amd"],
    [29, "btc_no", [], "amd"],
  ]),
  ...rows(0x8000_0021, EAX, [
    [2, "lfence_rdtsc", [], "amd"],
    [6, "null_sel_clr_base", [], "amd"],
    [8, "autoibrs", [], "amd"],
    [29, "srso_no", [], "amd"],
  ]),
];

/** Every feature that the table knows, shown or not. */
export const FEATURES: readonly Feature[] = [
  ...rows(1, EDX, REPEATED),
  ...rows(1, EDX, [
    [11, "sep", ["SEP"]],
    [19, "clflush", ["CLFSH"]],
    [25, "sse", ["SSE"]],
    [26, "sse2", ["SSE2"]],
    // bhyve sets it whatever the topology: EBX[23:16] holds the count.
    [28, "ht"],
  ]),
  ...rows(1, ECX, [
    [0, "sse3", ["SSE3"]],
    [1, "pclmulqdq", ["PCLMULQDQ"]],
    [3, "monitor", ["MONITOR"], OFF],
    [9, "ssse3", ["SSSE3"]],
    [13, "cx16", ["CMPXCHG16B"]],
    [17, "pcid"],
    [19, "sse4_1", ["SSE4_1"]],
    [20, "sse4_2", ["SSE4_2"]],
    [21, "x2apic", [], (facts) => facts.x2apic],
    [22, "movbe", ["MOVBE"]],
    [23, "popcnt", ["POPCNT"]],
    [25, "aes", ["AES"]],
    [26, "xsave", ["XSAVE"], OFF],
    [30, "rdrand", ["RDRAND"]],
    [31, "hypervisor"],
  ]),
  // The APIC timer goes on in every power state.
  ...rows(6, EAX, [[2, "arat"]]),
  ...rows(7, EBX, [
    [0, "fsgsbase", ["FSGSBASE"]],
    [1, "tsc_adjust", [], OFF],
    [3, "bmi1", ["BMI1"]],
    [7, "smep"],
    [8, "bmi2", ["BMI2"]],
    [9, "erms"],
    [10, "invpcid", ["INVPCID"]],
    [18, "rdseed", ["RDSEED"]],
    [19, "adx", ["ADX"]],
    [20, "smap", ["SMAP"]],
    [23, "clflushopt", ["CLFLUSHOPT"]],
    [24, "clwb", ["CLWB"]],
    [29, "sha", ["SHA"], OFF],
  ]),
  ...rows(7, ECX, [
    [2, "umip"],
    [22, "rdpid", ["RDPID"]],
  ]),
  ...rows(7, EDX, [
    [14, "serialize", ["SERIALIZE"]],
    [26, "spec_ctrl", [], "intel"],
    [29, "arch_capabilities", [], "intel"],
  ]),
  ...rows(
    0x8000_0001,
    EDX,
    REPEATED.map(([bit, name, gates = []]) => [bit, name, gates, "amd"]),
  ),
  ...rows(0x8000_0001, EDX, [
    [11, "syscall", ["SYSCALL"]],
    [20, "nx"],
    // AMD's name for the integer part of SSE, which SSE gates here.
    [22, "mmxext", [], "amd"],
    [26, "pdpe1gb"],
    [27, "rdtscp", ["RDTSCP"]],
    [29, "lm", ["X64"]],
  ]),
  ...rows(0x8000_0001, ECX, [
    [0, "lahf_lm"],
    [1, "cmp_legacy", [], (facts) => facts.vendor === "amd" && isMulti(facts)],
    [4, "cr8_legacy", [], "amd"],
    [5, "abm", ["LZCNT"]],
    [8, "3dnowprefetch", ["PREFETCHW"]],
    [22, "topoext", [], "amd"],
  ]),
  ...rows(0x8000_0007, EDX, [[8, "constant_tsc"]]),
  ...NO_SPECULATION,
];

/** What every x86-64 processor has, without a bit of its own. */
const BASELINE: ReadonlySet<InstructionGroup> = new Set([
  "INTEL8086",
  "INTEL186",
  "INTEL286",
  "INTEL386",
  "INTEL486",
  "MULTIBYTENOP",
  "PAUSE",
  "CPUID",
  "RDPMC",
]);

/** Bits of CR4 and the features that they need (Intel SDM vol. 3, 2.5). */
const CR4_FEATURES: readonly (readonly [bit: number, feature: string])[] = [
  ...([[0, "vme"], [1, "vme"], [2, "tsc"], [3, "de"], [4, "pse"]] as const),
  ...([[5, "pae"], [6, "mce"], [7, "pge"], [9, "fxsr"], [10, "sse"]] as const),
  ...([[11, "umip"], [16, "fsgsbase"], [17, "pcid"]] as const),
  ...([[18, "xsave"], [20, "smep"], [21, "smap"]] as const),
];

interface Cache {
  /** 1 data, 2 instructions, 3 unified */
  readonly type: 1 | 2 | 3;
  readonly level: 1 | 2 | 3;
  readonly ways: number;
  readonly sets: number;
}

// 32 KiB + 32 KiB, 512 KiB, 16 MiB: an ordinary server core's.
const CACHES: readonly Cache[] = [
  { type: 1, level: 1, ways: 8, sets: 64 },
  { type: 2, level: 1, ways: 8, sets: 64 },
  { type: 3, level: 2, ways: 8, sets: 1024 },
  { type: 3, level: 3, ways: 16, sets: 16384 },
];

const NOTHING: CpuidRegisters = [0, 0, 0, 0];

interface Query {
  readonly facts: Facts;
  readonly leaf: number;
  readonly subleaf: number;
  readonly apicId: number;
}

type Leaf = (q: Query) => CpuidRegisters;

// Bits that number `count` things: rounded up, as bhyve does.
function widthOf(count: number): number {
  return Math.ceil(Math.log2(count));
}

function ascii(text: string, at: number): number {
  let word = 0;
  for (let n = 3; n >= 0; n--) word = word << 8 | text.charCodeAt(at + n);
  return word >>> 0;
}

function vendorLeaf(max: number, signature: string): CpuidRegisters {
  // Leaf 0 has the signature in EBX, EDX, ECX.
  return [max, ascii(signature, 0), ascii(signature, 8), ascii(signature, 4)];
}

function logical(facts: Facts): number {
  return facts.cores * facts.threads;
}

function versionLeaf({ facts, apicId }: Query): CpuidRegisters {
  const count = Math.min(logical(facts), 0xff);
  const ebx = (apicId & 0xff) << 24 | count << 16 | CACHE_LINE / 8 << 8;
  return [VENDORS[facts.vendor].version, ebx >>> 0, 0, 0];
}

// The caches of leaf 4 and of AMD's 8000_001D, without what differs.
function cacheLeaf({ facts, subleaf }: Query): CpuidRegisters {
  const cache = CACHES[subleaf];
  if (cache === undefined) return NOTHING;
  const sharers = cache.level < 3 ? facts.threads : logical(facts);
  const selfInitializing = 1 << 8;
  const eax = Math.min(sharers - 1, 0xfff) << 14 | selfInitializing |
    cache.level << 5 | cache.type;
  return [eax, cache.ways - 1 << 22 | CACHE_LINE - 1, cache.sets - 1, 0];
}

function intelCacheLeaf(q: Query): CpuidRegisters {
  const [eax, ...rest] = cacheLeaf(q);
  if (eax === 0) return NOTHING;
  const cores = Math.min(q.facts.cores - 1, 0x3f);
  return [(eax | cores << 26) >>> 0, ...rest];
}

function topologyLeaf({ facts, subleaf, apicId }: Query): CpuidRegisters {
  const levels = [
    { type: 1, count: facts.threads },
    { type: 2, count: logical(facts) },
  ];
  const level = levels[subleaf];
  if (level === undefined) return [0, 0, subleaf & 0xff, 0];
  const ecx = level.type << 8 | subleaf;
  return [widthOf(level.count), level.count & 0xffff, ecx, apicId];
}

function brandLeaf({ leaf }: Query): CpuidRegisters {
  const at = (leaf - 0x8000_0002) * 16;
  const text = BRAND.padEnd(48, "\0");
  return [
    ascii(text, at),
    ascii(text, at + 4),
    ascii(text, at + 8),
    ascii(text, at + 12),
  ];
}

function sizesLeaf({ facts }: Query): CpuidRegisters {
  const eax = LINEAR_BITS << 8 | facts.physicalBits;
  if (facts.vendor !== "amd") return [eax, 0, 0, 0];
  const width = Math.min(widthOf(logical(facts)), 0xf);
  return [eax, 0, width << 12 | Math.min(logical(facts) - 1, 0xff), 0];
}

function amdTopologyLeaf({ facts, apicId }: Query): CpuidRegisters {
  const core = apicId >> widthOf(facts.threads);
  const node = apicId >> widthOf(logical(facts));
  const ebx = Math.min(facts.threads - 1, 0xff) << 8 | core & 0xff;
  return [apicId, ebx, node & 0xff, 0];
}

const BOTH_LEAVES: readonly (readonly [number, Leaf])[] = [
  [0, ({ facts }) => vendorLeaf(MAX_BASIC, VENDORS[facts.vendor].signature)],
  [1, versionLeaf],
  [0x8000_0002, brandLeaf],
  [0x8000_0003, brandLeaf],
  [0x8000_0004, brandLeaf],
  [0x8000_0008, sizesLeaf],
];

const VENDOR_LEAVES: Readonly<Record<Vendor, ReadonlyMap<number, Leaf>>> = {
  amd: new Map<number, Leaf>([
    ...BOTH_LEAVES,
    [0x8000_0000, ({ facts }) => {
      const { maxExtended, signature } = VENDORS[facts.vendor];
      return vendorLeaf(maxExtended, signature);
    }],
    [0x8000_0001, () => [VENDORS.amd.version, 0, 0, 0]],
    // 64-entry TLBs, fully associative; 32 KiB 8-way L1 caches, 64-byte lines.
    [0x8000_0005, () => [
      0xff40_ff40,
      0xff40_ff40,
      0x2008_0140,
      0x2008_0140,
    ]],
    // 1024/2048-entry L2 TLBs; 512 KiB 8-way L2; 16 MiB 16-way L3.
    [0x8000_0006, () => [
      0x4800_6400,
      0x6800_6400,
      0x0200_6140,
      0x0080_8140,
    ]],
    [0x8000_001d, cacheLeaf],
    [0x8000_001e, amdTopologyLeaf],
  ]),
  intel: new Map<number, Leaf>([
    ...BOTH_LEAVES,
    // Descriptor FFh: the caches are in leaf 4.
    [2, () => [0x7603_5a01, 0x00f0_b2ff, 0, 0x00ca_0000]],
    [4, intelCacheLeaf],
    [0xb, topologyLeaf],
    [0x8000_0000, () => [VENDORS.intel.maxExtended, 0, 0, 0]],
    // 512 KiB 8-way L2, 64-byte lines.
    [0x8000_0006, () => [0, 0, 0x0200_6040, 0]],
  ]),
};

function hypervisorLeaf(facts: Facts, leaf: number): CpuidRegisters {
  const max = hypervisorMax(facts);
  if (leaf > HYPERVISOR_BASE && max > HYPERVISOR_BASE) return [1, 0, 0, 0];
  const signature = HYPERVISOR_SIGNATURE;
  return [max, ascii(signature, 0), ascii(signature, 4), ascii(signature, 8)];
}

function hypervisorMax(facts: Facts): number {
  return HYPERVISOR_BASE + (facts.extendedDestinationId ? 1 : 0);
}

// Leaves beyond a range's last show that last one, as bhyve does.
function clampLeaf(facts: Facts, leaf: number): number {
  if (leaf >= EXTENDED_BASE) {
    return Math.min(leaf, VENDORS[facts.vendor].maxExtended);
  }
  if ((leaf & ~0xff) === HYPERVISOR_BASE) {
    return Math.min(leaf, hypervisorMax(facts));
  }
  return Math.min(leaf, MAX_BASIC);
}

function isShown(feature: Feature, facts: Facts): boolean {
  const { shown } = feature;
  if (typeof shown === "function") return shown(facts);
  return typeof shown === "string" ? shown === facts.vendor : shown;
}

function hiddenNames(disabled: readonly string[]): ReadonlySet<string> {
  const known = new Set(FEATURES.map((f) => f.name));
  for (const name of disabled) {
    if (!known.has(name)) {
      throw new CpuidError(
        `Cannot hide CPU feature "${name}": expected one of ${
          [...known].join(", ")
        }`,
      );
    }
  }
  return new Set(disabled);
}

function requireWithin(what: string, value: number, low: number, high: number) {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new CpuidError(
      `Cannot use ${what} ${value}: expected ${low} to ${high}`,
    );
  }
}

function factsOf(config: CpuidConfig): Facts {
  requireWithin("vCPU", config.vcpu, 0, 0xffff);
  requireWithin("sockets", config.sockets, 1, 0xffff);
  requireWithin("cores", config.cores, 1, 0xffff);
  requireWithin("threads", config.threads, 1, 0xffff);
  const { physicalBits = 40, extendedDestinationId = false } = config;
  requireWithin("physical address bits", physicalBits, 36, 52);
  return { ...config, physicalBits, extendedDestinationId };
}

/** CPUID of one virtual CPU. */
export class Cpuid {
  /** Bits of a guest-physical address. */
  readonly physicalBits: number;
  /** Bits of CR4 that the guest cannot set, for want of their feature. */
  readonly reservedCr4: number;
  /**
   * Groups of instructions that the processor has.
   *
   * @internal
   */
  readonly instructions: ReadonlySet<InstructionGroup>;
  readonly #facts: Facts;
  readonly #names: ReadonlySet<string>;
  readonly #bits: ReadonlyMap<number, CpuidRegisters>;

  /**
   * Works out what the processor shows.
   *
   * @param config what to show
   * @throws {CpuidError} for a value out of range or an unknown feature to hide
   */
  constructor(config: CpuidConfig) {
    const facts = factsOf(config);
    const hidden = hiddenNames(config.disabled ?? []);
    const shown = FEATURES.filter((f) =>
      isShown(f, facts) && !hidden.has(f.name)
    );
    this.#facts = facts;
    this.physicalBits = facts.physicalBits;
    this.#names = new Set(shown.map((f) => f.name));
    this.#bits = collectBits(shown);
    this.instructions = new Set([
      ...BASELINE,
      ...shown.flatMap((f) => f.gates),
    ]);
    this.reservedCr4 = CR4_FEATURES
      .filter(([, feature]) => !this.has(feature))
      .reduce((bits, [bit]) => bits | 1 << bit, 0);
  }

  /** Whose processor it looks like. */
  get vendor(): Vendor {
    return this.#facts.vendor;
  }

  /** Whether a feature is shown, by its name in `FEATURES`. */
  has(feature: string): boolean {
    return this.#names.has(feature);
  }

  /** What CPUID answers, as EAX EBX ECX EDX. */
  query(leaf: number, subleaf: number, state: CpuidState): CpuidRegisters {
    const facts = this.#facts;
    const clamped = clampLeaf(facts, leaf >>> 0);
    if ((clamped & ~0xff) === HYPERVISOR_BASE) {
      return hypervisorLeaf(facts, clamped);
    }
    const define = VENDOR_LEAVES[facts.vendor].get(clamped);
    const registers = define?.({
      facts,
      leaf: clamped,
      subleaf: subleaf >>> 0,
      apicId: state.apicId ?? facts.vcpu,
    }) ?? NOTHING;
    // Only leaf 7 has both features and subleaves.
    if (clamped === 7 && subleaf !== 0) return registers;
    return this.#withFeatures(clamped, registers, state);
  }

  #withFeatures(
    leaf: number,
    registers: CpuidRegisters,
    { cr4 }: CpuidState,
  ): CpuidRegisters {
    const bits = this.#bits.get(leaf);
    if (bits === undefined) return registers;
    const showsXsave = leaf === 1 && this.has("xsave") && cr4 & OSXSAVE_CR4;
    const [eax, ebx, ecx, edx] = registers;
    return [
      (eax | bits[EAX]) >>> 0,
      (ebx | bits[EBX]) >>> 0,
      (ecx | bits[ECX] | (showsXsave ? OSXSAVE_BIT : 0)) >>> 0,
      (edx | bits[EDX]) >>> 0,
    ];
  }
}

function collectBits(
  features: readonly Feature[],
): ReadonlyMap<number, CpuidRegisters> {
  const leaves = new Map<number, [number, number, number, number]>();
  for (const { leaf, register, bit } of features) {
    const registers = leaves.get(leaf) ?? [0, 0, 0, 0];
    registers[register as 0 | 1 | 2 | 3] |= 1 << bit;
    leaves.set(leaf, registers);
  }
  return leaves;
}
