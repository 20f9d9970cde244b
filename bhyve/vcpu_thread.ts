// One vCPU in its thread: runs guest code until something wants it, and sleeps while it
// has none to run (halted, not started yet, held by a debugger). Between its blocks and
// while it sleeps it looks at what other threads left.

import { CAPABILITY, type DeviceBus, VirtualCpu } from "../vmm/cpu/cpu.ts";
import {
  EXIT_CODE,
  SUSPEND,
  type VmEntry,
  type VmExit,
} from "../vmm/cpu/exits.ts";
import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { REGISTER } from "../vmm/cpu/registers.ts";
import type { RegionObserver } from "../vmm/cpu/regions/tier.ts";
import type { SharedCode } from "../vmm/cpu/shared_code.ts";
import type { Log } from "../vmm/device.ts";
import { STAT } from "../vmm/statistics.ts";
import type {
  GuestClock,
  LocalApic,
  PostedInterrupts,
} from "../vmm/platform/mod.ts";
import { ApicAccess } from "../vmm/platform/apic_access.ts";
import type { Board } from "./board.ts";
import type { CompileStart } from "./compiler_thread.ts";
import { CountedBus } from "./counted_bus.ts";
import type { MachineSettings } from "./machine_settings.ts";
import type { MachinePlan } from "./plan.ts";
import type { MailedRequest, RequestMail } from "./request_mail.ts";
import { VcpuCounters } from "./vcpu_counters.ts";
import { VcpuExits } from "./vcpu_exits.ts";
import type { VcpuGate } from "./vcpu_gate.ts";

/** Longest sleep, so that a call that got lost does no harm for long. */
const LONGEST_SLEEP_MS = 1000;
/** How long a vCPU that waits for another leaves the core to it. */
const YIELD_MS = 0.1;
/** Looks for the next call after one was answered: they come in rows. */
const LOOKS_AFTER_CALL = 30;
/** A machine counts as halted where it is so for this long. */
const HALTED_FOR_MS = 10;
const NS_PER_MS = 1e6;
/** Instructions without a look at the clock: a few microseconds. */
const TIME_WINDOW = 2000;
const RFLAGS_IF = 0x200n;
const REAL_MODE_CODE = 0x93;

/** What a vCPU's thread is made of. */
export interface VcpuThreadOptions {
  readonly id: number;
  readonly plan: MachinePlan;
  readonly settings: MachineSettings;
  readonly memory: GuestMemory;
  /** the processor's memory 0 */
  readonly state: WebAssembly.Memory;
  /** what it compiles, and where */
  readonly compiler: CompileStart;
  /** what threads tell each other of code */
  readonly code: SharedCode;
  readonly board: Board;
  readonly gate: VcpuGate;
  readonly clock: GuestClock;
  readonly lapic: LocalApic;
  readonly posted: PostedInterrupts;
  readonly mail: RequestMail;
  readonly log: Log;
  /** is told of compiled code: after each module, and at the end */
  readonly compiled: RegionObserver;
  /** devices: in this thread, or by calls to another */
  readonly devices: Required<
    Pick<DeviceBus, "readPort" | "writePort" | "readMemory" | "writeMemory">
  >;
  /** An answer that a device in another thread gave to the access that exited. */
  takeAnswer?(): VmEntry | undefined;
  /** Looks at what else this thread has to do: whether more of it may come at once. */
  poll(): boolean;
  /** Does a request and answers it. */
  serve(request: MailedRequest): void;
}

/** One vCPU. */
export class VcpuThread {
  readonly cpu: VirtualCpu;
  readonly counters = new VcpuCounters();
  readonly apic: ApicAccess;
  readonly #options: VcpuThreadOptions;
  readonly #exits: VcpuExits;
  #isHalted = false;
  #isInitDue = false;
  #startupVector: number | undefined;
  #lastExit: VmExit | undefined;
  #runFrom = 0;

  constructor(options: VcpuThreadOptions) {
    this.#options = options;
    this.#exits = new VcpuExits({ ...options, counters: this.counters });
    const { id, plan, settings, memory, clock, lapic } = options;
    this.apic = new ApicAccess(lapic, settings.x2apic);
    const { sockets, cores, threads } = plan.topology;
    this.cpu = new VirtualCpu({
      memory,
      state: options.state,
      compile: options.compiler.compile,
      compiler: options.compiler.mail,
      compiled: options.compiled,
      cpuid: { vcpu: id, sockets, cores, threads, x2apic: settings.x2apic },
      bus: new CountedBus(options.devices, this.apic, this.counters),
      readTsc: () => BigInt(Math.floor(clock.now())),
      timeWindow: TIME_WINDOW,
      interrupts: lapic,
      poll: (isCalled) => isCalled ? void this.#poll() : clock.runDue(),
      waited: () => this.#yield(),
      countCpuid: () => this.counters.add(STAT.CPUID),
    });
    memory.shareCode(options.code);
    this.#restore();
  }

  #restore(): void {
    const { id, plan, settings } = this.#options;
    const { cpu } = this;
    const state = plan.vcpus[id];
    if (state) {
      cpu.restore(state.cpu);
      for (const [number, value] of Object.entries(state.capabilities)) {
        cpu.setCapability(Number(number), value);
      }
    }
    if (settings.exitOnHlt) cpu.setCapability(CAPABILITY.HALT_EXIT, 1);
    if (settings.exitOnPause) cpu.setCapability(CAPABILITY.PAUSE_EXIT, 1);
  }

  /** Why it stopped last. */
  get lastExit(): VmExit | undefined {
    return this.#lastExit;
  }

  /** Its counters, with those that are computed. */
  get statistics(): bigint[] {
    this.counters.setCpu(this.cpu.statistics);
    const { id, memory } = this.#options;
    // vmm(4) counts a machine's memory with its first vCPU.
    if (id === 0) this.counters.set(STAT.RESIDENT, memory.size);
    return this.counters.values();
  }

  // --- Called by the local APIC, in this thread ------------------------------

  /** There is an interrupt to look at. */
  attend(): void {
    this.cpu.attend();
  }

  /** A non-maskable interrupt. */
  nmi(): void {
    this.counters.add(STAT.NMI);
    this.cpu.injectNmi();
  }

  /** INIT. */
  init(): void {
    this.#isInitDue = true;
    this.#startupVector = undefined;
    this.cpu.requestStop();
  }

  /** STARTUP. */
  startup(vector: number): void {
    this.#startupVector = vector;
    this.cpu.requestStop();
  }

  /** Registers were set from outside: an instruction pointer may have moved. */
  wake(): void {
    this.#isHalted = false;
  }

  // --- Running ---------------------------------------------------------------

  // What is looked at between blocks and while it sleeps: whether more may come at once.
  #poll(): boolean {
    const { code, posted, lapic, clock, board, id, mail } = this.#options;
    code.drain();
    const received = posted.deliver(lapic);
    if (received > 0) this.counters.add(STAT.IPI_RECEIVED, received);
    clock.runDue();
    const isBusy = this.#options.poll();
    if (board.how !== SUSPEND.NONE || board.isPaused(id) || mail.isPending) {
      this.cpu.requestStop();
    }
    return isBusy;
  }

  /** Runs until the machine ends. */
  run(): void {
    const { board, gate, id } = this.#options;
    let entry: VmEntry | undefined;
    this.#resume();
    while (board.how === SUSPEND.NONE) {
      this.#act();
      if (!this.#canRun()) {
        this.#rest();
        continue;
      }
      const exit = this.cpu.run(entry);
      this.#lastExit = exit;
      if (exit.code === EXIT_CODE.HLT) this.#isHalted = true;
      entry = this.#exits.handle(exit);
    }
    this.#pause();
    gate.setRunning(false);
    const { regions } = this.cpu.statistics;
    if (regions !== undefined) this.#options.compiled(regions);
    board.markSuspended(id);
  }

  // Requests, INIT and STARTUP: what needs a processor that does not run.
  #act(): void {
    const { mail } = this.#options;
    for (let r = mail.take(); r !== undefined; r = mail.take()) {
      this.#options.serve(r);
    }
    if (this.#isInitDue) this.#reset();
    const vector = this.#startupVector;
    if (vector !== undefined) this.#start(vector);
  }

  #reset(): void {
    const { board, id, lapic } = this.#options;
    this.#isInitDue = false;
    this.#isHalted = false;
    this.cpu.reset();
    board.markStarted(id, !lapic.isWaiting);
  }

  #start(vector: number): void {
    const { board, id } = this.#options;
    this.#startupVector = undefined;
    this.cpu.setRegister(REGISTER.CS, BigInt(vector << 8));
    this.cpu.setDescriptor(REGISTER.CS, {
      base: BigInt(vector << 12),
      limit: 0xffff,
      access: REAL_MODE_CODE,
    });
    this.cpu.setRegister(REGISTER.RIP, 0n);
    board.markStarted(id, true);
  }

  #canRun(): boolean {
    const { board, id, lapic } = this.#options;
    if (board.isPaused(id) || lapic.isWaiting) return false;
    if (!this.#isHalted) return true;
    if (!this.cpu.hasEvent) return false;
    this.#isHalted = false;
    return true;
  }

  get #hasWork(): boolean {
    const { board, mail } = this.#options;
    return board.how !== SUSPEND.NONE || mail.isPending || this.#isInitDue ||
      this.#startupVector !== undefined || this.#canRun();
  }

  // Sleeps until there is something to do.
  #rest(): void {
    const { board, gate, clock, id } = this.#options;
    this.#pause();
    const from = clock.now();
    const isOff = this.#isHalted && !this.#hasInterruptsOn;
    board.markHalted(id, isOff);
    let haltedSince: number | undefined;
    let looks = 0;
    for (;;) {
      const mark = gate.mark;
      if (this.#poll()) looks = LOOKS_AFTER_CALL;
      if (this.#hasWork) break;
      if (looks-- > 0) continue;
      if (isOff) haltedSince = this.#watchHalt(haltedSince);
      const wait = this.#sleepTime(haltedSince !== undefined);
      if (wait > 0) gate.wait(mark, wait);
    }
    board.markHalted(id, false);
    this.counters.add(STAT.IDLE_TICKS, (clock.now() - from) / NS_PER_MS);
    this.#resume();
  }

  get #hasInterruptsOn(): boolean {
    return (this.cpu.getRegister(REGISTER.RFLAGS) & RFLAGS_IF) !== 0n;
  }

  #sleepTime(isWatching: boolean): number {
    if (isWatching) return HALTED_FOR_MS;
    const { clock } = this.#options;
    const deadline = clock.nextDeadline();
    if (deadline === undefined) return LONGEST_SLEEP_MS;
    const wait = (deadline - clock.now()) / NS_PER_MS;
    return Math.min(wait, LONGEST_SLEEP_MS);
  }

  // Since when the whole machine is halted; one that stays so is suspended. What was
  // posted may not be seen yet where the last vCPU has just halted.
  #watchHalt(since: number | undefined): number | undefined {
    const { board } = this.#options;
    if (!board.isHalted) return undefined;
    const now = performance.now();
    if (since === undefined) return now;
    if (now - since >= HALTED_FOR_MS) board.suspendOnce(SUSPEND.HALT);
    return since;
  }

  // The guest waits for another vCPU, whose thread may want the core.
  #yield(): void {
    const { gate, plan } = this.#options;
    if (plan.vcpus.length === 1) return;
    const mark = gate.mark;
    this.whileParked(() => gate.wait(mark, YIELD_MS));
  }

  // It does not run from here on: others need not wait for it.
  #pause(): void {
    const { gate, clock } = this.#options;
    gate.setRunning(false);
    this.counters.add(STAT.RUNTIME, clock.now() - this.#runFrom);
  }

  // It runs from here on; what was posted before that must be known.
  #resume(): void {
    const { gate, code, clock } = this.#options;
    this.#runFrom = clock.now();
    gate.setRunning(true);
    code.drain();
  }

  /** Calls `wait` while it counts as not running; answers whether code was dropped. */
  whileParked(wait: () => void): boolean {
    const { gate, code } = this.#options;
    gate.setRunning(false);
    try {
      wait();
    } finally {
      gate.setRunning(true);
    }
    return code.drain();
  }
}
