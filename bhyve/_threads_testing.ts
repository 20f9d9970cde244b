// Machines of small programs in the real threads, for tests: vCPU 0 starts in flat
// 32-bit mode, the others by INIT and STARTUP at AP_START, and all end by the reset port.

import { configValues } from "./machine_settings.ts";
import { GuestRam } from "./guest_ram.ts";
import type { MachinePlan } from "./plan.ts";
import { MachineThreads } from "./threads.ts";
import { ConfigNode } from "../vmm/config.ts";
import { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { hexBytes } from "../vmm/cpu/testing.ts";
import { applyStart, start32 } from "../vmm/loader/start.ts";
import { GuestRam as LoaderRam } from "../vmm/loader/guest_ram.ts";
import { RestingVcpu } from "../vmm/root/resting_vcpu.ts";

/** Where vCPU 0 starts. */
export const BSP_START = 0x1_0000;
/** Where the others go on in 32-bit mode. */
export const AP_START = 0x9000;
/** Where the others start in real mode: STARTUP vector 8. */
const TRAMPOLINE = 0x8000;
const MEMORY = 8 << 20;
/** An IDT of 256 gates, and its pseudo-descriptor. */
const IDT = 0x2000;
const IDT_POINTER = 0x5100;

// cli; lgdt; CR0.PE; far jump; data segments; mov esp, 0x7000; jmp AP_START
const TO_FLAT_MODE = `fa 2e660f01162c00 0f20c0 0c01 0f22c0 66ea188000001000
  66b81800 8ed8 8ec0 8ed0 bc00700000 e9d40f0000 1f0000100000`;

/** Programs of test machines. */
export const CODE = {
  /** switches the local APIC on, sends INIT and STARTUP to vCPU 1 */
  START_AP: `c705f000e0feff010000 c7051003e0fe00000001 c7050003e0fe00450000
    c7050003e0fe08460000`,
  /** mov dx, 0xcf9; mov al, 6; out dx, al; jmp $ */
  END: "66baf90cb006eeebfe",
  /** cli; hlt; again */
  HALT: "faf4ebfc",
} as const;

/** A program to run. */
export interface TestProgram {
  readonly vcpus?: number;
  readonly bsp: string;
  readonly ap?: string;
  /** more bytes by address */
  readonly more?: Readonly<Record<number, string>>;
  /** handlers by vector */
  readonly handlers?: Readonly<Record<number, number>>;
  /** configuration values by path */
  readonly config?: Readonly<Record<string, string>>;
}

function fill(ram: GuestRam, program: TestProgram): void {
  const put = (gpa: number, text: string) => {
    const bytes = hexBytes(text);
    ram.view(gpa, bytes.length)!.set(bytes);
  };
  put(TRAMPOLINE, TO_FLAT_MODE);
  put(BSP_START, program.bsp);
  put(AP_START, program.ap ?? CODE.HALT);
  for (const [gpa, text] of Object.entries(program.more ?? {})) {
    put(Number(gpa), text);
  }
  const view = (gpa: number, length: number) => {
    const { buffer, byteOffset } = ram.view(gpa, length)!;
    return new DataView(buffer, byteOffset, length);
  };
  for (const [vector, handler] of Object.entries(program.handlers ?? {})) {
    const gate = view(IDT + 8 * Number(vector), 8);
    gate.setUint32(0, 0x10_0000 | handler & 0xffff, true);
    gate.setUint32(4, handler & 0xffff_0000 | 0x8e00, true);
  }
  const pointer = view(IDT_POINTER, 6);
  pointer.setUint16(0, 0x7ff, true);
  pointer.setUint32(2, IDT, true);
}

/** Builds a machine with a program, stopped. */
export async function buildMachine(
  program: TestProgram,
): Promise<{ readonly threads: MachineThreads; readonly ram: GuestRam }> {
  const memory = new GuestMemory(MEMORY);
  memory.map({ gpa: 0, length: MEMORY, offset: 0, writable: true });
  const ram = new GuestRam(memory);
  fill(ram, program);
  const loaderRam = new LoaderRam({
    lowmem: MEMORY,
    highmem: 0,
    view: (gpa, length) => ram.view(gpa, length),
  });
  const vcpu = new RestingVcpu(0, ram);
  applyStart(vcpu, start32(loaderRam, BSP_START, { RSP: 0x7800 }));
  const config = new ConfigNode();
  for (const [path, value] of Object.entries(program.config ?? {})) {
    config.set(path, value);
  }
  const vcpus = program.vcpus ?? 2;
  const plan: MachinePlan = {
    name: "test",
    config: configValues(config),
    topology: { sockets: vcpus, cores: 1, threads: 1, maxcpus: 16 },
    lowmem: MEMORY,
    highmem: 0,
    vcpus: Array.from(
      { length: vcpus },
      (_, n) => n === 0 ? vcpu.save() : null,
    ),
    rtc: null,
    chars: {},
    permissions: { read: [], write: [] },
  };
  return { threads: await MachineThreads.create(plan, memory), ram };
}

/** A 32-bit word of guest memory. */
export function wordAt(ram: GuestRam, gpa: number): number {
  const { buffer, byteOffset } = ram.view(gpa, 4)!;
  return new DataView(buffer, byteOffset, 4).getUint32(0, true);
}
