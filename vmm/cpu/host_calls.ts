// The functions that emitted code calls in TypeScript (see `runtime/host.ts`): device
// memory, ports, MSRs, CPUID, time, exits. What no device claims becomes an exit; its
// answer is kept for when the instruction is tried again, since an instruction with
// several accesses exits once for each.

import type { Cpuid, CpuidRegisters } from "./cpuid.ts";
import type { HostCallbacks } from "./engine.ts";
import { exitFor, shutdownExit, type UnplacedExit } from "./exit_records.ts";
import { EXIT_CODE, type VmEntry, type VmExit } from "./exits.ts";
import type { MsrFile } from "./msr.ts";
import type { CpuOptions } from "./options.ts";
import { HOST } from "./runtime/host.ts";
import { STATUS } from "./runtime/traps.ts";
import {
  CR4,
  CR8,
  EXIT_CONTROLS,
  EXIT_ON,
  IO_STRING,
  IO_STRING_REP,
  RIP,
  SCRATCH,
  TIME_UNKNOWN,
  TIME_UNTIL,
  XCR0,
} from "./state.ts";
import type { StateWords } from "./state_words.ts";
import { watchPort } from "./stepping.ts";

const BYTES_MASK = [0n, 0xffn, 0xffffn, 0n, 0xffff_ffffn] as const;

/** What the functions work with. */
export interface HostParts {
  /** devices, interrupt controller, clock, random numbers */
  readonly options: CpuOptions;
  /** memory 0 */
  readonly words: StateWords;
  /** the processor's MSRs */
  readonly msrs: MsrFile;
  /** what CPUID shows */
  readonly cpuid: Cpuid;
}

/** The host's time stamp counter. */
export function readTsc(options: CpuOptions): bigint {
  return options.readTsc?.() ?? BigInt(Math.floor(performance.now() * 1e6));
}

/**
 * The functions as the engine takes them. Memory 0 is the engine's, so that what
 * they call is there only after it.
 */
export function hostFunctions(calls: () => HostCalls): HostCallbacks {
  const address = (low: number, high: number) =>
    (high >>> 0) * 2 ** 32 + (low >>> 0);
  // What may take long, or tell a time of its own.
  const slow = () => {
    calls().passTime();
    return calls();
  };
  return {
    mmioRead: (low: number, high: number, bytes: number) =>
      slow().mmioRead(address(low, high), bytes),
    mmioWrite: (low: number, high: number, bytes: number) =>
      slow().mmioWrite(address(low, high), bytes),
    portRead: (port: number, bytes: number) => slow().portRead(port, bytes),
    portWrite: (port: number, bytes: number) => slow().portWrite(port, bytes),
    readMsr: (index: number) => slow().readMsr(index >>> 0),
    writeMsr: (index: number) => slow().writeMsr(index >>> 0),
    cpuid: () => calls().queryCpuid(),
    readTsc: () => calls().readTsc(),
    random: () => calls().random(),
    writeCr8: () => calls().writeCr8(),
    readCr8: () => calls().readCr8(),
    exit: (reason: number) => calls().exit(reason),
  };
}

/** What emitted code calls, with exits and the replies to them. */
export class HostCalls {
  readonly #options: CpuOptions;
  readonly #words: StateWords;
  readonly #msrs: MsrFile;
  readonly #cpuid: Cpuid;
  readonly #replies: bigint[] = [];
  #reply = 0;
  #msrFault = false;
  #cpuidAnswer: CpuidRegisters | undefined;
  #pending: UnplacedExit | undefined;

  constructor(parts: HostParts) {
    this.#options = parts.options;
    this.#words = parts.words;
    this.#msrs = parts.msrs;
    this.#cpuid = parts.cpuid;
  }

  // --- Exits and replies ---------------------------------------------------

  /** Whether an instruction is half done: parts of it exited and were answered. */
  get hasReplies(): boolean {
    return this.#replies.length > 0;
  }

  /** Takes the answer to the exit before; without one the instruction starts anew. */
  answer(entry: VmEntry | undefined): void {
    this.#msrFault = false;
    this.#cpuidAnswer = undefined;
    if (this.#pending === undefined || entry === undefined) {
      this.forget();
      return;
    }
    this.#msrFault = entry.fault ?? false;
    this.#cpuidAnswer = entry.cpuid;
    this.#replies.push(BigInt(entry.value ?? 0));
    this.#pending = undefined;
  }

  /** Makes replies void: the caller changed where the CPU is. */
  forget(): void {
    this.dropReplies();
    this.#pending = undefined;
  }

  /** Drops the replies to an instruction that is done. */
  dropReplies(): void {
    this.#replies.length = 0;
  }

  /** Begins to answer from the first reply: the instruction is tried again. */
  rewind(): void {
    this.#reply = 0;
  }

  /** The exit behind a status of the engine that is none of a fault or of events. */
  exitOf(status: number): VmExit {
    switch (status) {
      case STATUS.EXIT: {
        const exit = this.#pending;
        if (exit === undefined) throw new Error("An exit left no record");
        // Where the instruction is was not known while it executed.
        return { ...exit, rip: this.#words.quad(RIP) } as VmExit;
      }
      case STATUS.SHUTDOWN:
        return shutdownExit(this.#words);
      default:
        throw new Error(`The engine stopped with status ${status}`);
    }
  }

  // The answer to an access that exited before, if there is one.
  #nextReply(): bigint | undefined {
    return this.#reply < this.#replies.length
      ? this.#replies[this.#reply++]
      : undefined;
  }

  #leave(exit: UnplacedExit): number {
    this.#pending = exit;
    return HOST.EXIT;
  }

  /** Leaves for a reason of `EXIT_REASON`. */
  exit(reason: number): number {
    return this.#leave(exitFor(this.#words, reason));
  }

  // --- Device memory and ports ---------------------------------------------

  /** Reads device memory into SCRATCH. */
  mmioRead(gpa: number, bytes: number): number {
    const value = this.#nextReply() ??
      this.#options.bus?.readMemory?.(gpa, bytes);
    if (value !== undefined) {
      this.#words.setQuad(SCRATCH, BigInt.asUintN(8 * bytes, value));
      return HOST.DONE;
    }
    return this.#leaveForMemory(gpa, bytes, false, 0n);
  }

  /** Writes SCRATCH to device memory. */
  mmioWrite(gpa: number, bytes: number): number {
    if (this.#nextReply() !== undefined) return HOST.DONE;
    const value = BigInt.asUintN(8 * bytes, this.#words.quad(SCRATCH));
    if (this.#options.bus?.writeMemory?.(gpa, bytes, value)) return HOST.DONE;
    return this.#leaveForMemory(gpa, bytes, true, value);
  }

  #leaveForMemory(
    gpa: number,
    bytes: number,
    write: boolean,
    value: bigint,
  ): number {
    return this.#leave({
      code: EXIT_CODE.INST_EMUL,
      length: 0,
      gpa,
      bytes,
      write,
      value,
      fetch: false,
    });
  }

  /** Reads a port into SCRATCH. */
  portRead(port: number, bytes: number): number {
    watchPort(this.#words, port, bytes);
    const value = this.#nextReply() ??
      this.#options.bus?.readPort?.(port, bytes);
    if (value !== undefined) {
      this.#words.setQuad(SCRATCH, BigInt(value) & BYTES_MASK[bytes]!);
      return HOST.DONE;
    }
    return this.#leaveForPort(port, bytes, true, 0);
  }

  /** Writes SCRATCH to a port. */
  portWrite(port: number, bytes: number): number {
    watchPort(this.#words, port, bytes);
    if (this.#nextReply() !== undefined) return HOST.DONE;
    const value = Number(this.#words.quad(SCRATCH) & BYTES_MASK[bytes]!);
    if (this.#options.bus?.writePort?.(port, bytes, value)) return HOST.DONE;
    return this.#leaveForPort(port, bytes, false, value);
  }

  #leaveForPort(
    port: number,
    bytes: number,
    isRead: boolean,
    value: number,
  ): number {
    const kind = this.#words.word(IO_STRING);
    this.#words.setWord(IO_STRING, 0);
    return this.#leave({
      code: EXIT_CODE.INOUT,
      length: 0,
      port,
      bytes: bytes as 1 | 2 | 4,
      in: isRead,
      string: kind !== 0,
      rep: kind === IO_STRING_REP,
      value,
    });
  }

  // --- MSRs, CPUID, CR8 ----------------------------------------------------

  // Whether the answer to the exit before was a fault: it counts for one access.
  #takeMsrFault(): boolean {
    const isFault = this.#msrFault;
    this.#msrFault = false;
    return isFault;
  }

  /** Reads an MSR into SCRATCH. */
  readMsr(msr: number): number {
    const known = this.#options.bus?.readMsr?.(msr) ?? this.#msrs.read(msr);
    if (known === undefined && this.#takeMsrFault()) return HOST.FAULT;
    const value = known ?? this.#nextReply();
    if (value === undefined) {
      return this.#leave({ code: EXIT_CODE.RDMSR, length: 0, msr });
    }
    this.#words.setQuad(SCRATCH, value);
    return HOST.DONE;
  }

  /** Writes SCRATCH to an MSR. */
  writeMsr(msr: number): number {
    const value = this.#words.quad(SCRATCH);
    const claimed = this.#options.bus?.writeMsr?.(msr, value) ?? "unknown";
    const done = claimed === "unknown" ? this.#msrs.write(msr, value) : claimed;
    if (done === "done") return HOST.DONE;
    if (done === "fault" || this.#takeMsrFault()) return HOST.FAULT;
    if (this.#nextReply() !== undefined) return HOST.DONE;
    return this.#leave({ code: EXIT_CODE.WRMSR, length: 0, msr, value });
  }

  /** CPUID: EAX to EDX in SCRATCH. */
  queryCpuid(): number {
    this.#options.countCpuid?.();
    const at = (n: number) => SCRATCH + 8 * n;
    const leaf = this.#words.word(at(0)) >>> 0;
    const subleaf = this.#words.word(at(2)) >>> 0;
    const isWanted = this.#words.word(EXIT_CONTROLS) & EXIT_ON.CPUID;
    if (isWanted && this.#nextReply() === undefined) {
      return this.#leave({ code: EXIT_CODE.CPUID, length: 0, leaf, subleaf });
    }
    const values = this.#cpuidAnswer ?? this.#cpuid.query(leaf, subleaf, {
      cr4: this.#words.word(CR4),
      xcr0: this.#words.word(XCR0),
    });
    this.#cpuidAnswer = undefined;
    values.forEach((value, n) =>
      this.#words.setQuad(at(n), BigInt(value >>> 0))
    );
    return HOST.DONE;
  }

  /** The next time stamp is read, not reckoned. */
  passTime(): void {
    this.#words.setWord(TIME_UNTIL, TIME_UNKNOWN);
  }

  /** Reads the time stamp into SCRATCH. */
  readTsc(): void {
    this.#words.setQuad(SCRATCH, readTsc(this.#options));
  }

  /** Puts 64 random bits into SCRATCH. */
  random(): void {
    const bits = this.#options.random?.() ??
      crypto.getRandomValues(new BigUint64Array(1))[0]!;
    this.#words.setQuad(SCRATCH, bits);
  }

  /** Writes SCRATCH to CR8. */
  writeCr8(): void {
    const { interrupts } = this.#options;
    const value = Number(this.#words.quad(SCRATCH) & 15n);
    this.#words.setWord(CR8, value);
    if (interrupts !== undefined) interrupts.taskPriority = value;
  }

  /** Reads CR8 into SCRATCH. */
  readCr8(): void {
    const priority = this.#options.interrupts?.taskPriority;
    this.#words.setQuad(SCRATCH, BigInt(priority ?? this.#words.word(CR8)));
  }
}
