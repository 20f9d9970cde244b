// A vCPU at rest: its registers without an engine that could run them, so that a
// request costs no compilation. The state is the processor's own (`cpu/save.ts`), which
// a VirtualCpu goes on from.

import { Capabilities } from "../cpu/capabilities.ts";
import { Cpuid } from "../cpu/cpuid.ts";
import type { VmExit } from "../cpu/exits.ts";
import { InterruptShadow } from "../cpu/interrupt_shadow.ts";
import { MsrFile } from "../cpu/msr.ts";
import { DEFAULT_CPUID, EVENT_KIND } from "../cpu/options.ts";
import type { SegmentDescriptor } from "../cpu/options.ts";
import { RegisterAccess } from "../cpu/register_access.ts";
import type { RegisterNumber } from "../cpu/registers.ts";
import { resetState } from "../cpu/reset.ts";
import { type PendingEvent, restoreState, saveState } from "../cpu/save.ts";
import { CPL, TLB, TSC_OFFSET } from "../cpu/state.ts";
import { StateWords } from "../cpu/state_words.ts";
import { VmmError } from "../errno.ts";
import { STATISTICS } from "../statistics.ts";
import type { VcpuTarget } from "../vm_target.ts";
import type { VmcbFacts } from "../vmcb.ts";
import type { VcpuState } from "./state.ts";

const NO_ERROR_CODE = -1;

/** A vCPU of a machine that rests in this process. */
export interface SavedVcpu extends VcpuTarget {
  /** Latches a non-maskable interrupt. */
  injectNmi(): void;
  /** Its state. */
  save(): VcpuState;
}

/** One vCPU of a machine at rest. */
export class RestingVcpu implements SavedVcpu {
  x2apic = 0;
  pendingEvent: PendingEvent | undefined;
  readonly exitIntinfo = 0n;
  readonly #words: StateWords;
  readonly #msrs: MsrFile;
  readonly #shadow: InterruptShadow;
  readonly #registers: RegisterAccess;
  readonly #capabilities: Capabilities;
  readonly #set: Record<string, number> = {};
  #nmi = false;
  #pendingDebug = 0;

  /**
   * @param id its number
   * @param memory guest memory, for translations
   * @param state where it goes on from; as after reset by default
   * @throws {CpuError} for a damaged state
   */
  constructor(
    readonly id: number,
    readonly memory: VcpuTarget["memory"],
    state?: VcpuState,
  ) {
    // What precedes the TLB in memory 0 is the architectural state.
    const buffer = new ArrayBuffer(TLB);
    const view = new DataView(buffer);
    this.#words = new StateWords({
      state: view,
      words: new Int32Array(buffer),
    });
    const config = { ...DEFAULT_CPUID, vcpu: id };
    const cpuid = new Cpuid(config);
    this.#msrs = new MsrFile({
      state: view,
      vendor: config.vendor,
      vcpu: id,
      cpuid,
      changed: () => {},
      readTsc: () => 0n,
    });
    this.#shadow = new InterruptShadow(this.#words);
    this.#registers = new RegisterAccess(this.#words, this.#shadow);
    this.#capabilities = new Capabilities(this.#words, cpuid);
    if (state === undefined) resetState(view);
    else this.#restore(state);
  }

  #restore({ cpu, capabilities, x2apic }: VcpuState): void {
    const events = restoreState(this.#words.view, this.#msrs, cpu);
    this.pendingEvent = events.injected;
    this.#nmi = events.nmi;
    this.#pendingDebug = events.pendingDebug;
    for (const [number, value] of Object.entries(capabilities)) {
      this.setCapability(Number(number), value);
    }
    this.x2apic = x2apic === 1 ? 1 : 0;
  }

  injectNmi(): void {
    this.#nmi = true;
  }

  save(): VcpuState {
    const events = {
      nmi: this.#nmi,
      injected: this.pendingEvent,
      pendingDebug: this.#pendingDebug,
    };
    return {
      cpu: saveState(this.#words.view, this.#msrs, events),
      capabilities: { ...this.#set },
      x2apic: this.x2apic,
    };
  }

  getRegister(register: RegisterNumber): bigint {
    return this.#registers.get(register);
  }

  setRegister(register: RegisterNumber, value: bigint): void {
    this.#registers.set(register, value);
  }

  getDescriptor(register: RegisterNumber): SegmentDescriptor {
    return this.#registers.getDescriptor(register);
  }

  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void {
    this.#registers.setDescriptor(register, value);
  }

  getCapability(capability: number): number {
    return this.#capabilities.get(capability);
  }

  setCapability(capability: number, value: number): void {
    this.#capabilities.set(capability, value);
    this.#set[capability] = value;
  }

  injectException(vector: number, errorCode?: number): void {
    this.pendingEvent = {
      vector,
      kind: EVENT_KIND.EXCEPTION,
      error: errorCode ?? NO_ERROR_CODE,
    };
    this.#shadow.end();
  }

  /** Counters begin with a run. */
  get statistics(): readonly bigint[] {
    return STATISTICS.map(() => 0n);
  }

  get vmcb(): VmcbFacts {
    return {
      cpu: {
        getRegister: (register) => this.getRegister(register),
        getDescriptor: (register) => this.getDescriptor(register),
        getMsr: (index) => this.#msrs.read(index),
        getCapability: (capability) => this.getCapability(capability),
        privilege: this.#words.word(CPL),
        exceptionExits: this.#capabilities.exceptionExits,
      },
      lastExit: undefined,
      tscOffset: this.#words.quad(TSC_OFFSET),
      exitIntInfo: this.exitIntinfo,
    };
  }

  /** What can run it takes its place first. */
  run(): VmExit {
    throw new VmmError("EBUSY");
  }
}
