// Model-specific registers of one virtual CPU (Intel SDM vol. 4, chapter 2 and vol. 3,
// 12.11; AMD APM vol. 2, 3.2 and appendix A), with bhyve's choice of registers and
// constants. Left out: the x2APIC's, 800h to BFFh, which are the local APIC's.

import type { Cpuid, Vendor } from "./cpuid.ts";
import { CpuError } from "./exits.ts";
import {
  CR0_PG,
  EFER_AIBRSE,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
} from "./runtime/control_bits.ts";
import {
  CR0,
  CSTAR,
  EFER,
  FS,
  GS,
  KERNEL_GS_BASE,
  LSTAR,
  SEG_BASE,
  SFMASK,
  STAR,
  SYSENTER_CS,
  SYSENTER_EIP,
  SYSENTER_ESP,
  TSC_AUX,
  TSC_OFFSET,
} from "./state.ts";

/** The register whose bits say how addresses are translated. */
export const MSR_EFER = 0xc000_0080;

/** What became of a write: `unknown` leaves it to the caller. */
export type MsrWrite = "done" | "fault" | "unknown";

/** What the registers of a virtual CPU depend on. */
export interface MsrOptions {
  /** memory 0 */
  readonly state: DataView;
  /** whose processor it looks like */
  readonly vendor: Vendor;
  /** number of the virtual CPU; 0 starts the machine */
  readonly vcpu: number;
  /** which features there are */
  readonly cpuid: Cpuid;
  /** time stamp counts in a second: default 10^9 */
  readonly tscFrequency?: number;
  /** called after a register was written, with its index */
  changed(index: number): void;
  /** the host's time stamp, before TSC_OFFSET */
  readTsc(): bigint;
}

/** The registers that are not in memory 0, by index: hexadecimal numbers. */
export interface MsrState {
  /** what it is the state of */
  readonly kind: "msr";
  /** version of the layout */
  readonly version: 1;
  /** values in hexadecimal, by name */
  readonly values: Readonly<Record<string, string>>;
}

type Facts = Pick<MsrOptions, "vendor" | "vcpu" | "cpuid"> & {
  readonly tscFrequency: number;
};

interface Access extends Facts {
  /** memory 0 */
  readonly state: DataView;
  /** its value before the write */
  readonly old: bigint;
}

/** Makes a written value what is stored, or says why it is not. */
type Check = (value: bigint, access: Access) => bigint | Refusal;
type Refusal = Exclude<MsrWrite, "done">;

/** Where a register lives. */
type Place =
  /** in memory 0, at this address */
  | { readonly kind: "state"; readonly address: number }
  /** here; the value after power-on */
  | { readonly kind: "stored"; readonly reset: (facts: Facts) => bigint }
  /** nowhere: it reads as a constant */
  | { readonly kind: "constant"; readonly value: (facts: Facts) => bigint }
  | { readonly kind: "tsc" }
  | { readonly kind: "tscAdjust" };

/** One register, or a run of registers that are alike. */
interface MsrRow {
  readonly name: string;
  readonly index: number;
  /** registers in the run: default 1 */
  readonly count?: number;
  /** only this vendor has it */
  readonly vendor?: Vendor;
  /** it exists only with one of these features */
  readonly features?: readonly string[];
  readonly place: Place;
  /** how a value is written: one of the checks below */
  readonly write: Check | Refusal | "ignore";
}

const TSC = 0x10;
const U32 = 0xffff_ffffn;

const state = (address: number): Place => ({ kind: "state", address });
const stored = (reset: bigint | ((facts: Facts) => bigint) = 0n): Place => ({
  kind: "stored",
  reset: typeof reset === "bigint" ? () => reset : reset,
});
const constant = (value: bigint | ((facts: Facts) => bigint)): Place => ({
  kind: "constant",
  value: typeof value === "bigint" ? () => value : value,
});
const ZERO_VALUE = constant(0n);

const any: Check = (value) => value;

// Bits above are reserved, and dropped.
const low32: Check = (value) => value & U32;

const canonical: Check = (value) =>
  BigInt.asUintN(64, BigInt.asIntN(48, value)) === value ? value : "fault";

// Intel has 64 bits here, AMD only 32.
const sysenterAddress: Check = (value, access) =>
  access.vendor === "intel" ? canonical(value, access) : value & U32;

// Intel reserves the upper half, AMD drops it.
const tscAux: Check = (value, { vendor }) =>
  vendor === "intel" && value > U32 ? "fault" : value & U32;

/** Address bits from 12 on that a physical address can have. */
function pageBits({ cpuid }: Facts): bigint {
  return (1n << BigInt(cpuid.physicalBits)) - 0x1000n;
}

function within(value: bigint, legal: bigint): bigint | "fault" {
  return (value & ~legal) === 0n ? value : "fault";
}

// UC, WC, WT, WP, WB; 7, UC-, only in PAT (Intel SDM vol. 3, 12.11.2.1, 12.12.2).
const MTRR_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6]);
const PAT_TYPES: ReadonlySet<number> = new Set([...MTRR_TYPES, 7]);

function eachByteIn(value: bigint, types: ReadonlySet<number>): boolean {
  for (let n = 0n; n < 64n; n += 8n) {
    if (!types.has(Number(value >> n & 0xffn))) return false;
  }
  return true;
}

const pat: Check = (value) => eachByteIn(value, PAT_TYPES) ? value : "fault";

const mtrrFixed: Check = (value) =>
  eachByteIn(value, MTRR_TYPES) ? value : "fault";

function hasMtrrType(value: bigint): boolean {
  return MTRR_TYPES.has(Number(value & 0xffn));
}

// Type, FE and E.
const mtrrDefault: Check = (value) =>
  hasMtrrType(value) ? within(value, 0xcffn) : "fault";

const mtrrBase: Check = (value, access) =>
  hasMtrrType(value) ? within(value, pageBits(access) | 0xffn) : "fault";

// Bit 11 makes the pair valid.
const mtrrMask: Check = (value, access) =>
  within(value, pageBits(access) | 0x800n);

const APIC_BSP = 0x100n;
const APIC_EXTENDED = 0x400n;
const APIC_ENABLED = 0x800n;
const APIC_DEFAULT = 0xfee0_0000n;

// The APIC stays where it is; only its mode changes, in the order that the manual
// allows: off, xAPIC, x2APIC, off (Intel SDM vol. 3, 11.12.1 and 11.12.5).
const apicBase: Check = (value, { old, cpuid }) => {
  const x2apic = cpuid.has("x2apic") ? APIC_EXTENDED : 0n;
  const legal = APIC_DEFAULT | APIC_BSP | APIC_ENABLED | x2apic;
  if ((value & ~0xfffn) !== APIC_DEFAULT) return "fault";
  if (within(value, legal) === "fault") return "fault";
  const mode = value & (APIC_ENABLED | APIC_EXTENDED);
  const oldMode = old & (APIC_ENABLED | APIC_EXTENDED);
  if (mode === APIC_EXTENDED) return "fault";
  const wasExtended = (oldMode & APIC_EXTENDED) !== 0n;
  if (wasExtended && mode === APIC_ENABLED) return "fault";
  if (oldMode === 0n && (mode & APIC_EXTENDED) !== 0n) return "fault";
  return value & ~APIC_BSP | old & APIC_BSP;
};

// LMA follows LME and CR0.PG, and is not written (Intel SDM vol. 3, 2.2.1; AMD APM
// vol. 2, 3.1.7). AMD refuses another value of it, Intel ignores it.
const efer: Check = (value, { old, vendor, cpuid, state }) => {
  const bit = (feature: string, bits: number) =>
    cpuid.has(feature) ? BigInt(bits) : 0n;
  const lma = BigInt(EFER_LMA);
  const legal = lma | bit("syscall", EFER_SCE) | bit("nx", EFER_NXE) |
    bit("lm", EFER_LME) | bit("autoibrs", EFER_AIBRSE);
  const changed = value ^ old;
  const paging = (state.getUint32(CR0, true) & CR0_PG) !== 0;
  if (within(value, legal) === "fault") return "fault";
  if (paging && (changed & BigInt(EFER_LME)) !== 0n) return "fault";
  if (vendor === "amd" && (changed & lma) !== 0n) return "fault";
  return value & ~lma | old & lma;
};

const MISC_XD_DISABLE = 1n << 34n;
// Fast strings; branch trace and PEBS unavailable.
const MISC_ENABLE_VALUE = 0x1801n;

// Its value never changes, but a guest may try to make "execute disable" usable.
const miscEnable: Check = (value) =>
  ((value ^ MISC_ENABLE_VALUE) & ~MISC_XD_DISABLE) === 0n ? value : "unknown";

const BUS_FREQUENCY = 100_000_000;

// The ratio of the time stamp to the bus clock, in a byte.
function clockRatio({ tscFrequency }: Facts): bigint {
  const ratio = Math.round(tscFrequency / BUS_FREQUENCY);
  return BigInt(Math.max(1, Math.min(ratio, 0xff)));
}

function turboRatios(facts: Facts): bigint {
  return clockRatio(facts) * 0x0101_0101_0101_0101n;
}

/** Variable ranges that MTRRs can describe. */
const MTRR_VARIABLE = 10;
// WC, fixed ranges, number of variable ranges.
const MTRR_CAP = BigInt(0x500 | MTRR_VARIABLE);
const PAT_RESET = 0x0007_0406_0007_0406n;

function mtrrVariableRows(): MsrRow[] {
  return Array.from({ length: MTRR_VARIABLE }, (_, n): MsrRow[] => [
    {
      name: `MTRR_PHYSBASE${n}`,
      index: 0x200 + 2 * n,
      place: stored(),
      write: mtrrBase,
    },
    {
      name: `MTRR_PHYSMASK${n}`,
      index: 0x201 + 2 * n,
      place: stored(),
      write: mtrrMask,
    },
  ]).flat();
}

function mtrrFixedRows(): MsrRow[] {
  const runs = [[0x250, 1], [0x258, 2], [0x268, 8]] as const;
  return runs.map(([index, count]) => ({
    name: "MTRR_FIXED",
    index,
    count,
    place: stored(),
    write: mtrrFixed,
  }));
}

const MTRR_ROWS: readonly MsrRow[] = [
  ...[
    {
      name: "MTRRCAP",
      index: 0xfe,
      place: constant(MTRR_CAP),
      write: "fault",
    },
    {
      name: "MTRR_DEF_TYPE",
      index: 0x2ff,
      place: stored(),
      write: mtrrDefault,
    },
  ] as const,
  ...mtrrVariableRows(),
  ...mtrrFixedRows(),
];

type ShortRow = readonly [
  index: number,
  name: string,
  place: Place,
  write: MsrRow["write"],
  options?: Partial<MsrRow>,
];

function table(short: readonly ShortRow[], common: Partial<MsrRow> = {}) {
  return short.map(([index, name, place, write, options]): MsrRow => ({
    index,
    name,
    place,
    write,
    ...common,
    ...options,
  }));
}

const COMMON_ROWS = table([
  [TSC, "TSC", { kind: "tsc" }, any],
  [0x1b, "APIC_BASE", stored(apicReset), apicBase],
  [0x3b, "TSC_ADJUST", { kind: "tscAdjust" }, any, {
    features: ["tsc_adjust"],
  }],
  [0x174, "SYSENTER_CS", state(SYSENTER_CS), low32],
  [0x175, "SYSENTER_ESP", state(SYSENTER_ESP), sysenterAddress],
  [0x176, "SYSENTER_EIP", state(SYSENTER_EIP), sysenterAddress],
  [0x179, "MCG_CAP", ZERO_VALUE, "ignore"],
  [0x17a, "MCG_STATUS", ZERO_VALUE, "ignore"],
  [0x277, "PAT", stored(PAT_RESET), pat],
  [MSR_EFER, "EFER", state(EFER), efer],
  [0xc000_0081, "STAR", state(STAR), any],
  [0xc000_0082, "LSTAR", state(LSTAR), canonical],
  [0xc000_0083, "CSTAR", state(CSTAR), canonical],
  [0xc000_0084, "SFMASK", state(SFMASK), low32],
  [0xc000_0100, "FS_BASE", state(FS + SEG_BASE), canonical],
  [0xc000_0101, "GS_BASE", state(GS + SEG_BASE), canonical],
  [0xc000_0102, "KERNEL_GS_BASE", state(KERNEL_GS_BASE), canonical],
  [0xc000_0103, "TSC_AUX", state(TSC_AUX), tscAux, {
    features: ["rdtscp", "rdpid"],
  }],
]);

function apicReset({ vcpu }: Facts): bigint {
  return APIC_DEFAULT | APIC_ENABLED | (vcpu === 0 ? APIC_BSP : 0n);
}

/**
 * IA32_ARCH_CAPABILITIES: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO,
 * IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO,
 * RFDS_NO and ITS_NO (Intel SDM vol. 4, table 2-2): nothing is speculated on here.
 */
const ARCH_CAPABILITIES = [
  0n,
  1n,
  3n,
  4n,
  5n,
  6n,
  8n,
  13n,
  14n,
  15n,
  20n,
  24n,
  26n,
  27n,
  62n,
]
  .reduce((bits, n) => bits | 1n << n, 0n);

// IBRS, which is on whatever it says.
const specCtrl: Check = (value) => within(value, 1n);

// IBPB: there is no prediction to forget.
const predCmd: Check = (value) => within(value, 1n) === "fault" ? "fault" : 0n;

const INTEL_ROWS = table([
  [0x17, "PLATFORM_ID", ZERO_VALUE, "unknown"],
  [0x3a, "FEATURE_CONTROL", constant(1n), "unknown"],
  [0x48, "SPEC_CTRL", stored(), specCtrl, { features: ["spec_ctrl"] }],
  [0x49, "PRED_CMD", ZERO_VALUE, predCmd, { features: ["spec_ctrl"] }],
  [0x79, "BIOS_UPDT_TRIG", ZERO_VALUE, "ignore"],
  [0x8b, "BIOS_SIGN_ID", ZERO_VALUE, "ignore"],
  [
    0xce,
    "PLATFORM_INFO",
    constant((f) => clockRatio(f) << 8n | clockRatio(f) << 40n),
    "unknown",
  ],
  [0x10a, "ARCH_CAPABILITIES", constant(ARCH_CAPABILITIES), "fault", {
    features: ["arch_capabilities"],
  }],
  [0x140, "MISC_FEATURE_ENABLES", ZERO_VALUE, "unknown"],
  [0x1a0, "MISC_ENABLE", constant(MISC_ENABLE_VALUE), miscEnable],
  [0x1ad, "TURBO_RATIO_LIMIT", constant(turboRatios), "unknown"],
  [0x1ae, "TURBO_RATIO_LIMIT1", constant(turboRatios), "unknown"],
  [0x606, "RAPL_POWER_UNIT", constant(0xa_1003n), "unknown"],
  [0x611, "PKG_ENERGY_STATUS", ZERO_VALUE, "unknown"],
  [0x619, "DRAM_ENERGY_STATUS", ZERO_VALUE, "unknown"],
  [0x639, "PP0_ENERGY_STATUS", ZERO_VALUE, "unknown"],
  [0x641, "PP1_ENERGY_STATUS", ZERO_VALUE, "unknown"],
  [0xc24, "C24", ZERO_VALUE, "ignore"],
  [0xd04, "D04", ZERO_VALUE, "ignore"],
], { vendor: "intel" });

const AMD_ROWS = table([
  [0x8b, "BIOS_SIGN", ZERO_VALUE, "unknown"],
  [0xc001_0000, "PERF_EVT_SEL", ZERO_VALUE, "ignore", { count: 4 }],
  [0xc001_0004, "PERF_CTR", ZERO_VALUE, "ignore", { count: 4 }],
  [0xc001_0010, "SYSCFG", ZERO_VALUE, "ignore"],
  [0xc001_0015, "HWCR", constant(0x0100_0210n), "ignore"],
  [0xc001_001f, "NB_CFG1", ZERO_VALUE, "ignore"],
  [0xc001_0020, "PATCH_LOADER", ZERO_VALUE, "ignore"],
  [0xc001_0055, "IPM", ZERO_VALUE, "ignore"],
  [0xc001_0061, "PSTATE_LIMIT", ZERO_VALUE, "unknown"],
  [0xc001_0062, "PSTATE_CONTROL", ZERO_VALUE, "ignore"],
  [0xc001_0063, "PSTATE_STATUS", ZERO_VALUE, "unknown"],
  [0xc001_0064, "PSTATE_CONFIG0", ZERO_VALUE, "unknown"],
  [0xc001_0112, "SMM_ADDR", ZERO_VALUE, "unknown"],
  [0xc001_0113, "SMM_MASK", ZERO_VALUE, "unknown"],
  // SVMDIS: there is no SVM.
  [0xc001_0114, "VM_CR", constant(0x10n), "unknown"],
  [0xc001_1005, "EXT_FEATURES", ZERO_VALUE, "ignore"],
  [0xc001_1020, "LS_CFG", ZERO_VALUE, "ignore"],
  [0xc001_1021, "IC_CFG", ZERO_VALUE, "ignore"],
  // Bit 0: the workaround for erratum 721 is in place, which OpenBSD asks.
  // Guests set that LFENCE serializes, which it does here.
  [0xc001_1029, "DE_CFG", constant(1n), "ignore"],
], { vendor: "amd" });

const ROWS: readonly MsrRow[] = [
  ...COMMON_ROWS,
  ...MTRR_ROWS,
  ...INTEL_ROWS,
  ...AMD_ROWS,
];

// The registers that a processor has, one entry an index.
function rowsOf({ vendor, cpuid }: Facts): ReadonlyMap<number, MsrRow> {
  const map = new Map<number, MsrRow>();
  for (const row of ROWS) {
    if (row.vendor !== undefined && row.vendor !== vendor) continue;
    if (row.features && !row.features.some((f) => cpuid.has(f))) continue;
    for (let n = 0; n < (row.count ?? 1); n++) map.set(row.index + n, row);
  }
  return map;
}

/** A register whose accesses the processor does itself, without an exit. */
export interface DirectMsr {
  readonly index: number;
  /** whether that holds for writes, too */
  readonly isWritable: boolean;
}

/** The registers that a processor reads, and maybe writes, without an exit. */
export function directMsrs(
  processor: Pick<MsrOptions, "vendor" | "cpuid">,
): DirectMsr[] {
  const rows = rowsOf({ ...processor, vcpu: 0, tscFrequency: 1e9 });
  return Array.from(rows, ([index, { write }]) => ({
    index,
    isWritable: typeof write === "function" || write === "ignore",
  }));
}

/** The model-specific registers of one virtual CPU. */
export class MsrFile {
  readonly #options: MsrOptions;
  readonly #facts: Facts;
  readonly #rows: ReadonlyMap<number, MsrRow>;
  readonly #stored = new Map<number, bigint>();
  #tscAdjust = 0n;

  constructor(options: MsrOptions) {
    this.#options = options;
    const { vendor, vcpu, cpuid, tscFrequency = 1e9 } = options;
    this.#facts = { vendor, vcpu, cpuid, tscFrequency };
    this.#rows = rowsOf(this.#facts);
    this.reset();
  }

  /** Gives the registers that are not in memory 0 their values after power-on. */
  reset(): void {
    this.#tscAdjust = 0n;
    for (const [index, { place }] of this.#rows) {
      if (place.kind === "stored") {
        this.#stored.set(index, place.reset(this.#facts));
      }
    }
  }

  /** The value of a register, or undefined where there is none of this index. */
  read(index: number): bigint | undefined {
    const row = this.#rows.get(index);
    return row === undefined ? undefined : this.#value(row.place, index);
  }

  #value(place: Place, index: number): bigint {
    switch (place.kind) {
      case "state":
        return this.#options.state.getBigUint64(place.address, true);
      case "stored":
        return this.#stored.get(index)!;
      case "constant":
        return place.value(this.#facts);
      case "tsc":
        return this.#tsc();
      case "tscAdjust":
        return this.#tscAdjust;
    }
  }

  #tsc(): bigint {
    const { state } = this.#options;
    const offset = state.getBigInt64(TSC_OFFSET, true);
    return BigInt.asUintN(64, this.#options.readTsc() + offset);
  }

  /** Writes a register as WRMSR does. */
  write(index: number, value: bigint): MsrWrite {
    const row = this.#rows.get(index);
    if (row === undefined) return "unknown";
    if (row.write === "ignore") return "done";
    if (typeof row.write === "string") return row.write;
    const kept = row.write(BigInt.asUintN(64, value), this.#access(row, index));
    if (typeof kept === "string") return kept;
    this.#put(row.place, index, kept);
    this.#options.changed(index);
    return "done";
  }

  #access(row: MsrRow, index: number): Access {
    const old = this.#value(row.place, index);
    return { ...this.#facts, state: this.#options.state, old };
  }

  #put(place: Place, index: number, value: bigint): void {
    switch (place.kind) {
      case "state":
        this.#options.state.setBigUint64(place.address, value, true);
        break;
      case "stored":
        this.#stored.set(index, value);
        break;
      case "tsc":
        this.#moveTsc(value - this.#tsc());
        break;
      case "tscAdjust":
        this.#moveTsc(value - this.#tscAdjust);
        break;
      case "constant":
        break;
    }
  }

  // Writes of TSC and TSC_ADJUST change both (Intel SDM vol. 3, 18.17.3).
  #moveTsc(by: bigint): void {
    const { state } = this.#options;
    const offset = state.getBigInt64(TSC_OFFSET, true) + by;
    state.setBigInt64(TSC_OFFSET, BigInt.asIntN(64, offset), true);
    this.#tscAdjust = BigInt.asUintN(64, this.#tscAdjust + by);
  }

  /** The registers that are not in memory 0, as plain data. */
  save(): MsrState {
    const values: Record<string, string> = { TSC_ADJUST: hex(this.#tscAdjust) };
    for (const [index, value] of this.#stored) values[hex(index)] = hex(value);
    return { kind: "msr", version: 1, values };
  }

  /**
   * Takes over what `save` gave.
   *
   * @throws {CpuError} where it is of another kind, has unknown or missing parts,
   *   or values that no guest could have written; then nothing changed
   */
  restore(saved: MsrState): void {
    const values = this.#check(saved);
    this.#tscAdjust = values.get("TSC_ADJUST")!;
    for (const index of this.#stored.keys()) {
      this.#stored.set(index, values.get(hex(index))!);
    }
  }

  #check(saved: MsrState): ReadonlyMap<string, bigint> {
    if (saved?.kind !== "msr" || saved.version !== 1) {
      throw new CpuError(
        `Cannot restore MSRs of kind "${saved?.kind}" version ${saved?.version}: expected "msr" version 1`,
      );
    }
    const expected = new Map<string, number | undefined>([
      ["TSC_ADJUST", undefined],
      ...[...this.#stored.keys()].map((n): [string, number] => [hex(n), n]),
    ]);
    const found = Object.entries(saved.values ?? {});
    const values = new Map<string, bigint>();
    for (const [name, text] of found) {
      if (!expected.has(name)) {
        throw new CpuError(`Cannot restore MSRs: unknown part "${name}"`);
      }
      values.set(name, this.#parse(name, text, expected.get(name)));
    }
    for (const name of expected.keys()) {
      if (!values.has(name)) {
        throw new CpuError(`Cannot restore MSRs: part "${name}" is missing`);
      }
    }
    return values;
  }

  // The value of a saved register, which must be one that it can have.
  #parse(name: string, text: unknown, index: number | undefined): bigint {
    const isNumber = typeof text === "string" &&
      /^0x[0-9a-f]{1,16}$/.test(text);
    const value = isNumber ? BigInt(text) : -1n;
    if (!isNumber || index !== undefined && !this.#isLegal(index, value)) {
      throw new CpuError(`Cannot restore MSR ${name}: bad value "${text}"`);
    }
    return value;
  }

  #isLegal(index: number, value: bigint): boolean {
    const row = this.#rows.get(index)!;
    if (typeof row.write === "string") return true;
    // A register that keeps its value is written legally, whatever its mode.
    const access = { ...this.#access(row, index), old: value };
    return row.write(value, access) === value;
  }
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
