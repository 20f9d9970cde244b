// bhyvectl(8)'s options that set and print a vCPU's registers, descriptors, capabilities,
// events and counters.

import { VmmError } from "../vmm/errno.ts";
import {
  CAPABILITY_NAMES,
  vmCapabilityName2type,
  vmGetCapability,
  vmGetDesc,
  vmGetIntinfo,
  vmGetRegister,
  vmGetStatDesc,
  vmGetStats,
  vmGetX2apicState,
  vmInjectNmi,
  vmLapicLocalIrq,
  vmRun,
  vmSetCapability,
  vmSetDesc,
  vmSetRegister,
  vmSetX2apicState,
} from "../vmm/vmmapi.ts";
import { hex, shortHex, VALUE_FORMATS } from "./format.ts";
import {
  DESCRIPTOR_GETTERS,
  type DescriptorLine,
  REGISTER_GETTERS,
  type RegisterLine,
} from "./getters.ts";
import { exitLines } from "./exit_lines.ts";
import {
  DESCRIPTORS,
  registerNumber,
  SELECTORS,
  WRITABLE,
} from "./registers.ts";
import type { Act, Session } from "./session.ts";

// As C assigns a number to an int.
function toInt(value: bigint | undefined): number {
  return Number(BigInt.asIntN(32, value ?? 0n));
}

function label({ vcpu }: Session, line: RegisterLine | DescriptorLine) {
  return `${line.label}[${vcpu.vcpuid}]${"\t".repeat(line.tabs)}`;
}

function registerGetter(lines: readonly RegisterLine[]): Act {
  return async (session) => {
    for (const line of lines) {
      const value = await vmGetRegister(session.vcpu, line.register);
      const text = VALUE_FORMATS[line.format](value);
      session.print(label(session, line) + text);
    }
  };
}

function descriptorGetter(line: DescriptorLine): Act {
  return async (session) => {
    const desc = await vmGetDesc(session.vcpu, line.register);
    const parts = [hex(desc.base, 16), hex(BigInt(desc.limit), 8)];
    if (line.hasAccess) parts.push(hex(BigInt(desc.access), 8));
    session.print(label(session, line) + parts.join("/"));
  };
}

function registerSetter(register: number): Act {
  return ({ vcpu }, { value }) => vmSetRegister(vcpu, register, value ?? 0n);
}

const TABLES: readonly string[] = ["gdtr", "idtr"];

function descriptorSetter(name: (typeof DESCRIPTORS)[number]): Act {
  return ({ vcpu, command }) => {
    const { descBase, descLimit, descAccess } = command.operands;
    return vmSetDesc(vcpu, registerNumber(name), {
      base: descBase,
      limit: Number(BigInt.asUintN(32, descLimit)),
      access: TABLES.includes(name)
        ? 0
        : Number(BigInt.asUintN(32, descAccess)),
    });
  };
}

function isUnavailable(error: unknown): boolean {
  return error instanceof VmmError && error.code === "ENOENT";
}

function unavailable(name: string): string {
  return `Capability "${name}" is not available`;
}

const setCapability: Act = async ({ vcpu, command, print }, { value }) => {
  const name = command.operands.capname ?? "";
  try {
    await vmSetCapability(vcpu, vmCapabilityName2type(name), toInt(value));
  } catch (error) {
    if (isUnavailable(error)) print(unavailable(name));
    throw error;
  }
};

async function printCapability(session: Session, type: number): Promise<void> {
  const { vcpu, print } = session;
  const name = CAPABILITY_NAMES[type]!;
  try {
    const state = await vmGetCapability(vcpu, type) === 0 ? "not set" : "set";
    print(`Capability "${name}" is ${state} on vcpu ${vcpu.vcpuid}`);
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    print(unavailable(name));
  }
}

// A name that is unknown is as good as none: every capability is printed.
const getCapability: Act = async (session) => {
  const { capname } = session.command.operands;
  const wanted = capname === undefined ? -1 : vmCapabilityName2type(capname);
  for (const type of CAPABILITY_NAMES.keys()) {
    if (wanted < 0 || type === wanted) await printCapability(session, type);
  }
};

const INTINFO_VALID = 1n << 31n;
const INTINFO_ERROR_CODE = 1n << 11n;
const INTINFO_KINDS: Readonly<Record<number, string>> = {
  0: "extint",
  2: "nmi",
  4: "swint",
};

/** An intinfo word in words. */
export function intinfoText(info: bigint): string {
  if ((info & INTINFO_VALID) === 0n) return "n/a";
  const kind = INTINFO_KINDS[Number(info >> 8n & 7n)] ?? "exception";
  const vector = `${kind} vector ${info & 0xffn}`;
  if ((info & INTINFO_ERROR_CODE) === 0n) return vector;
  return `${vector} errcode ${shortHex(info >> 32n & 0xffff_ffffn)}`;
}

const getIntinfo: Act = async ({ vcpu, print }) => {
  const { info1, info2 } = await vmGetIntinfo(vcpu);
  print(`pending:\t${intinfoText(info1)}`);
  print(`current:\t${intinfoText(info2)}`);
};

const STATISTIC_COLUMNS = 40;

// Counters that cannot be had are no error.
const getStats: Act = async ({ ctx, vcpu, print }) => {
  const stats = await vmGetStats(vcpu).catch((error: unknown) => {
    if (error instanceof VmmError) return undefined;
    throw error;
  });
  if (stats === undefined) return;
  print(`vcpu${vcpu.vcpuid} stats:`);
  for (const [index, counter] of stats.counters.entries()) {
    const description = await vmGetStatDesc(ctx, index) ?? "(null)";
    const value = BigInt.asIntN(64, counter);
    print(`${description.padEnd(STATISTIC_COLUMNS)}\t${value}`);
  }
};

const run: Act = async ({ vcpu, print }) => {
  try {
    exitLines(await vmRun(vcpu), vcpu.vcpuid).forEach(print);
  } catch (error) {
    if (error instanceof VmmError) print("vm_run error -1");
    throw error;
  }
};

const NO_PIN = -1;

const assertLvt: Act = async ({ vcpu }, { value }) => {
  const pin = toInt(value);
  if (pin !== NO_PIN) await vmLapicLocalIrq(vcpu, pin);
};

/** Actions on a vCPU, by option. */
export const VCPU_ACTIONS: ReadonlyMap<string, Act> = new Map<string, Act>([
  ...[...WRITABLE, ...SELECTORS].map((name): [string, Act] => [
    `set-${name}`,
    registerSetter(registerNumber(name)),
  ]),
  ...DESCRIPTORS.map((name): [string, Act] => [
    `set-desc-${name}`,
    descriptorSetter(name),
  ]),
  ...Array.from(REGISTER_GETTERS, ([option, lines]): [string, Act] => [
    option,
    registerGetter(lines),
  ]),
  ...Array.from(DESCRIPTOR_GETTERS, ([option, line]): [string, Act] => [
    option,
    descriptorGetter(line),
  ]),
  [
    "set-x2apic-state",
    ({ vcpu }, { value }) => vmSetX2apicState(vcpu, toInt(value)),
  ],
  ["get-x2apic-state", async ({ vcpu, print }) => {
    const state = await vmGetX2apicState(vcpu);
    print(`x2apic_state[${vcpu.vcpuid}]\t${state}`);
  }],
  ["inject-nmi", ({ vcpu }) => vmInjectNmi(vcpu)],
  ["assert-lapic-lvt", assertLvt],
  ["get-intinfo", getIntinfo],
  ["setcap", setCapability],
  ["getcap", getCapability],
  ["get-stats", getStats],
  ["run", run],
]);
