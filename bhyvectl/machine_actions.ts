// bhyvectl(8)'s options that set and print what a machine has as a whole: memory, clock,
// CPU sets, topology, suspension.

import { SUSPEND } from "../vmm/cpu/exits.ts";
import { VmmError } from "../vmm/errno.ts";
import { type MemoryMap, PROT } from "../vmm/ioctl.ts";
import {
  VM_MMAP,
  vmActiveCpus,
  type VmContext,
  vmDebugCpus,
  vmGetGpaPmap,
  vmGetMemseg,
  vmGetTopology,
  vmMmapGetnext,
  vmRtcGettime,
  vmRtcRead,
  vmRtcSettime,
  vmRtcWrite,
  vmSetupMemory,
  vmSuspend,
  vmSuspendedCpus,
} from "../vmm/vmmapi.ts";
import { hex, humanSize, shortHex, utcTime } from "./format.ts";
import { printDirectMsrs } from "./msr_lines.ts";
import type { Act } from "./session.ts";

const MB = 1 << 20;
const SIZE_STEP = 2 * MB;

const setMemory: Act = async ({ ctx }, { value }) => {
  const size = Math.ceil(Number(value ?? 0n) * MB / SIZE_STEP) * SIZE_STEP;
  if (size < 0) throw new VmmError("EINVAL", "memory below 0 MB");
  if (size > 0) await vmSetupMemory(ctx, size, VM_MMAP.NONE);
};

// --- Memory ------------------------------------------------------------------

const COLUMN = 12;
const ID_COLUMN = 4;
const MEMSEG_HEAD = "ID  Length      Name";
const MEMMAP_HEAD =
  "Address     Length      Segment     Offset      Prot  Flags";
/** More than any machine has; an answer that never ends is cut off. */
const MOST_ROWS = 256;

// A segment's number that there cannot be ends the list.
async function segment(ctx: VmContext, segid: number) {
  try {
    return await vmGetMemseg(ctx, segid);
  } catch (error) {
    if (error instanceof VmmError && error.code === "EINVAL") return undefined;
    throw error;
  }
}

function segmentName(name: string): string {
  return name === "" ? "sysmem" : name;
}

const getMemseg: Act = async ({ ctx, print }) => {
  print(MEMSEG_HEAD);
  for (let segid = 0; segid < MOST_ROWS; segid++) {
    const found = await segment(ctx, segid);
    if (found === undefined) return;
    if (found.len === 0) continue;
    const id = String(segid).padEnd(ID_COLUMN);
    const size = humanSize(found.len).padEnd(COLUMN);
    print(`${id}${size}${segmentName(found.name)}`);
  }
};

const PROTECTION = [[PROT.READ, "R"], [PROT.WRITE, "W"], [
  PROT.EXEC,
  "X",
]] as const;
const FLAGS = [[1, "wired"], [2, "iommu"]] as const;

/** A mapping as a row of `--get-memmap`. */
export function mappingRow(map: MemoryMap, name: string): string {
  const column = (text: string) => text.padEnd(COLUMN);
  const upper = (value: bigint) => column(value.toString(16).toUpperCase());
  const prot = PROTECTION.map(([bit, letter]) => map.prot & bit ? letter : "-");
  // bhyvectl(8) has a NUL byte before the first flag, which nobody can want
  const flags = FLAGS.filter(([bit]) => map.flags & bit).map(([, flag]) =>
    flag
  );
  return upper(map.gpa) + column(humanSize(map.len)) +
    column(segmentName(name)) + upper(BigInt(map.segoff)) +
    `${prot.join("")}   ${flags.join("/")}`;
}

const getMemmap: Act = async ({ ctx, print }) => {
  print(MEMMAP_HEAD);
  let gpa = 0n;
  for (let n = 0; n < MOST_ROWS; n++) {
    const map = await vmMmapGetnext(ctx, gpa);
    if (map === undefined) return;
    const { name } = await vmGetMemseg(ctx, map.segid);
    print(mappingRow(map, name));
    gpa = map.gpa + BigInt(map.len);
  }
};

const getPmap: Act = async ({ ctx, print }, { value = 0n }) => {
  const entries = await vmGetGpaPmap(ctx, value);
  const texts = entries.map((entry) => ` ${shortHex(entry)}`);
  print(`gpa ${shortHex(value)}:${texts.join("")}`);
};

// --- Clock -------------------------------------------------------------------

const setNvram: Act = ({ ctx, command }, { value }) =>
  vmRtcWrite(ctx, nvramOffset(command), Number((value ?? 0n) & 0xffn));

const getNvram: Act = async ({ ctx, command, print }) => {
  const offset = nvramOffset(command);
  const value = await vmRtcRead(ctx, offset);
  const place = String(offset).padStart(3, "0");
  print(`rtc nvram[${place}]: ${hex(BigInt(value), 2)}`);
};

function nvramOffset({ operands }: Parameters<Act>[0]["command"]): number {
  return Number(BigInt.asIntN(32, operands.rtcOffset));
}

const setTime: Act = ({ ctx }, { value }) =>
  vmRtcSettime(ctx, BigInt.asIntN(64, value ?? 0n));

const getTime: Act = async ({ ctx, print }) => {
  const secs = await vmRtcGettime(ctx);
  print(`rtc time ${shortHex(secs)}: ${utcTime(secs)}`);
};

// --- CPUs --------------------------------------------------------------------

function cpuSet(
  label: string,
  get: (ctx: VmContext) => Promise<readonly number[]>,
): Act {
  return async ({ ctx, print }) => {
    const cpus = await get(ctx);
    print(`${label}:\t ${cpus.length === 0 ? "(none)" : cpus.join(", ")}`);
  };
}

const getTopology: Act = async ({ ctx, print }) => {
  const { sockets, cores, threads, maxcpus } = await vmGetTopology(ctx);
  print(
    `cpu_topology:\tsockets=${sockets}, cores=${cores}, threads=${threads}, ` +
      `maxcpus=${maxcpus}`,
  );
};

// vmm(4) answers so where a host has no device to give to a machine.
const unassign: Act = (_, { text }) =>
  Promise.reject(
    new VmmError("ENOENT", `there is no passthrough device ${text}`),
  );

/** Actions on a machine, by option. */
export const MACHINE_ACTIONS: ReadonlyMap<string, Act> = new Map<string, Act>([
  ["set-mem", setMemory],
  ["get-memseg", getMemseg],
  ["get-memmap", getMemmap],
  ["unassign-pptdev", unassign],
  ["get-msr-bitmap", printDirectMsrs],
  ["get-gpa-pmap", getPmap],
  ["set-rtc-nvram", setNvram],
  ["get-rtc-nvram", getNvram],
  ["set-rtc-time", setTime],
  ["get-rtc-time", getTime],
  ["get-active-cpus", cpuSet("active cpus", vmActiveCpus)],
  ["get-debug-cpus", cpuSet("debug cpus", vmDebugCpus)],
  ["get-suspended-cpus", cpuSet("suspended cpus", vmSuspendedCpus)],
  ["get-cpu-topology", getTopology],
  ["force-reset", ({ ctx }) => vmSuspend(ctx, SUSPEND.RESET)],
  ["force-poweroff", ({ ctx }) => vmSuspend(ctx, SUSPEND.POWEROFF)],
]);
