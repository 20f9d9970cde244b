// Memory 0: the private state of one virtual CPU. Every field has one address,
// given here, for the emitted code and for TypeScript alike. Architectural state
// comes first, then what the engine keeps for itself (TLB, jump cache, records).

/** Hands out consecutive, naturally aligned addresses. */
class Layout {
  #next = 0;

  /** Reserves `size` bytes aligned to `align` and returns their address. */
  take(size: number, align = Math.min(size, 64)): number {
    const at = Math.ceil(this.#next / align) * align;
    this.#next = at + size;
    return at;
  }

  /** Reserves `count` fields of `stride` bytes and returns the first. */
  array(count: number, stride: number, align = Math.min(stride, 64)): number {
    return this.take(count * stride, align);
  }

  /** First address that is not reserved. */
  get end(): number {
    return this.#next;
  }
}

const layout = new Layout();

/** General registers RAX RCX RDX RBX RSP RBP RSI RDI R8-R15: 16 of u64. */
export const GPR = layout.array(16, 8);
/** A register that is always zero: the base or index that an operand lacks. */
export const ZERO = layout.take(8);
/**
 * RIP of the first byte of the page that executes, so that the RIP of an
 * instruction is this plus its offset in the page; also the base register of
 * RIP-relative operands. Modulo 2^64 where CS.base is not a multiple of 4096.
 */
export const RIP_BASE = layout.take(8);
/** RIP, true whenever the engine is not inside a block. */
export const RIP = layout.take(8);
/** Lazy flags: the last result, sign-extended. See `flags.ts`. */
export const FLAG_RESULT = layout.take(8);
/** Lazy flags: carry vector. See `flags.ts`. */
export const FLAG_CARRY = layout.take(8);
/** RFLAGS without its six arithmetic bits (and with bit 1): u64. */
export const SYSTEM_FLAGS = layout.take(8);
/** Instructions left before the engine looks for events: i32. */
export const BUDGET = layout.take(4);
/** Non-zero where an interrupt or a request waits for the engine: i32. */
export const ATTENTION = layout.take(4);
/**
 * Negative where emitted code shall come back to the engine at the end of its block:
 * i32. Other threads set it; emitted code only reads it, since a word that it writes
 * itself, such as `BUDGET`, would take its own value again. On a line of its own.
 */
export const KICK = layout.take(64, 64);
/** PAUSE instructions until the guest counts as waiting for another vCPU: i32. */
export const PAUSES = layout.take(4);
/** Current privilege level: i32. */
export const CPL = layout.take(4);
/** The mode key of the blocks that may run now: i32. See `mode.ts`. */
export const MODE_KEY = layout.take(4);
/** `MODE_KEY`, whether CPL is 3, and a generation of the jump cache: i32. */
export const JUMP_KEY = layout.take(4);
/** The last generation that was begun: i32. See `runtime/jumps.ts`. */
export const JUMP_GENERATION = layout.take(4);
/** The generation of supervisor code: i32. */
export const SUPERVISOR_JUMPS = layout.take(4);
/** Non-zero where entries of it lie in pages that are not global: i32. */
export const JUMP_LOCAL = layout.take(4);
/** Limit of the code segment that entries are of where segments are not flat: i32. */
export const JUMP_CS_LIMIT = layout.take(4);
/** Its base: i64. */
export const JUMP_CS_BASE = layout.take(8);
/** Address of the TLB array for data accesses at the present privilege: i32. */
export const TLB_BASE = layout.take(4);
/** Address of the TLB array for system structures (always supervisor): i32. */
export const TLB_SYSTEM = layout.take(4);
/** Linear address of the operand, written by an effective-address record. */
export const EA = layout.take(8);

/** Size of a segment's slot. */
export const SEGMENT_STRIDE = 32;
/** Segment slots ES CS SS DS FS GS LDTR TR GDTR IDTR. */
export const SEGMENTS = layout.array(10, SEGMENT_STRIDE);
/** In a segment's slot: base, u64. */
export const SEG_BASE = 0;
/** In a segment's slot: limit in bytes (granularity applied), u32. */
export const SEG_LIMIT = 8;
/** In a segment's slot: access word as `vmm(4)` has it, u32. See `ACCESS`. */
export const SEG_ACCESS = 12;
/** In a segment's slot: selector, u16 kept as u32. */
export const SEG_SELECTOR = 16;

/** Addresses of the segment registers' slots. */
export const ES = SEGMENTS;
export const CS = SEGMENTS + SEGMENT_STRIDE;
export const SS = SEGMENTS + 2 * SEGMENT_STRIDE;
export const DS = SEGMENTS + 3 * SEGMENT_STRIDE;
export const FS = SEGMENTS + 4 * SEGMENT_STRIDE;
export const GS = SEGMENTS + 5 * SEGMENT_STRIDE;
export const LDTR = SEGMENTS + 6 * SEGMENT_STRIDE;
export const TR = SEGMENTS + 7 * SEGMENT_STRIDE;
export const GDTR = SEGMENTS + 8 * SEGMENT_STRIDE;
export const IDTR = SEGMENTS + 9 * SEGMENT_STRIDE;

/** Bits of a segment's access word (vmm(4), VMX access rights). */
export const ACCESS = {
  /** Type and S bit */
  TYPE: 0x1f,
  ACCESSED: 0x01,
  /** data: writable; code: readable */
  WRITABLE: 0x02,
  /** data: expand-down; code: conforming */
  EXPAND_DOWN: 0x04,
  CODE: 0x08,
  /** code or data, not a system descriptor */
  S: 0x10,
  DPL_SHIFT: 5,
  PRESENT: 0x80,
  AVL: 0x1000,
  L: 0x2000,
  /** default operation size; for SS, the stack's address size */
  DB: 0x4000,
  G: 0x8000,
  UNUSABLE: 0x10000,
} as const;

/** Control registers CR0-CR4 and CR8 by their number: u64 each (CR1 unused). */
export const CR = layout.array(9, 8);
export const CR0 = CR;
export const CR2 = CR + 16;
export const CR3 = CR + 24;
export const CR4 = CR + 32;
export const CR8 = CR + 64;
/** Debug registers DR0-DR7: u64 each (4 and 5 unused). */
export const DR = layout.array(8, 8);
/** PDPTE0-3 as loaded under PAE paging: u64 each. */
export const PDPTE = layout.array(4, 8);
/** XCR0, u64. */
export const XCR0 = layout.take(8);

/** Model-specific registers that the emitted code uses: u64 each. */
export const EFER = layout.take(8);
export const STAR = layout.take(8);
export const LSTAR = layout.take(8);
export const CSTAR = layout.take(8);
export const SFMASK = layout.take(8);
export const KERNEL_GS_BASE = layout.take(8);
export const SYSENTER_CS = layout.take(8);
export const SYSENTER_ESP = layout.take(8);
export const SYSENTER_EIP = layout.take(8);
export const TSC_AUX = layout.take(8);
/** Added to the host's time stamp to give the guest's: i64. */
export const TSC_OFFSET = layout.take(8);

/**
 * Instructions for which a time stamp is reckoned from the one that was read last; 0
 * where each is read: i32. See `runtime/time.ts`.
 */
export const TIME_WINDOW = layout.take(4);
/** The budget below which a time stamp is read: i32. */
export const TIME_UNTIL = layout.take(4);
/** In `TIME_UNTIL`: time has passed that the budget does not tell of. */
export const TIME_UNKNOWN = 0x7fffffff;
/** The host's time stamp that was read last: i64. */
export const TIME_READ = layout.take(8);

/** x87 data registers R0-R7 (physical): significand u64, then sign+exponent u16. */
export const FPR = layout.array(8, 16);
/** x87 control word, u16 kept as i32. */
export const FPU_CW = layout.take(4);
/** x87 status word without TOP, u16 kept as i32. */
export const FPU_SW = layout.take(4);
/** x87 TOP: i32, 0 to 7. */
export const FPU_TOP = layout.take(4);
/** x87 tags in the abridged form of FXSAVE: bit n set, physical Rn not empty. */
export const FPU_TAGS = layout.take(4);
/** x87 last opcode: i32, 11 bits. */
export const FPU_FOP = layout.take(4);
/** x87 instruction pointer's selector, i32. */
export const FPU_FCS = layout.take(4);
/** x87 data pointer's selector, i32. */
export const FPU_FDS = layout.take(4);
/** MXCSR, i32. */
export const MXCSR = layout.take(4);
/** x87 instruction pointer, u64. */
export const FPU_FIP = layout.take(8);
/** x87 data pointer, u64. */
export const FPU_FDP = layout.take(8);

/** Bytes from one vector register to the next. */
export const VECTOR_STRIDE = 32;
/** Vector registers 0-15; the first 16 bytes of each are XMM. */
export const XMM = layout.array(16, VECTOR_STRIDE, 32);

/** The RIP after STI or MOV SS until that instruction retired: u64, else all ones. */
export const SHADOW_RIP = layout.take(8);
/** Why the shadow is there: 0 none, 1 STI, 2 MOV SS or POP SS: i32. */
export const SHADOW_KIND = layout.take(4);
/** Non-zero while NMIs are blocked: i32. */
export const NMI_BLOCKED = layout.take(4);
/** Data breakpoints that matched in this instruction, as DR6 bits: i32. */
export const WATCH_HITS = layout.take(4);
/** Non-zero where the vendor is Intel, zero for AMD: i32. */
export const VENDOR_INTEL = layout.take(4);
/** Non-zero where the engine wants blocks of one instruction: i32. */
export const FORCE_STEP = layout.take(4);
/** Non-zero where a task switch leaves for an exit instead of happening: i32. */
export const TASK_SWITCH_EXITS = layout.take(4);
/** Bit n set: exception n leaves for the engine undelivered, INT3 and INTO too: u32. */
export const EXCEPTION_EXITS = layout.take(4);
/** Set while INS or OUTS accesses its port: `IO_STRING_ONCE` or `_REP`: i32. */
export const IO_STRING = layout.take(4);
export const IO_STRING_ONCE = 1;
export const IO_STRING_REP = 2;
/** Bits of `EXIT_ON` that say which instructions leave for an exit: i32. */
export const EXIT_CONTROLS = layout.take(4);
/** Physical address bits, as a mask of address bits 51:12 that are reserved: u64. */
export const RESERVED_PA = layout.take(8);

/** A trap's exception vector: i32. */
export const TRAP_VECTOR = layout.take(4);
/** A trap's error code: i32; -1 where the exception pushes none. */
export const TRAP_ERROR = layout.take(4);
/**
 * The exception whose delivery raised the one above: its vector plus 1, or 0 where
 * there was none, and its error code: i32 each.
 */
export const DELIVERED_VECTOR = layout.take(4);
export const DELIVERED_ERROR = layout.take(4);
/** A trap's other words, by kind: see `runtime/traps.ts`. */
export const TRAP_DATA = layout.array(6, 8);
/** Words that emitted code and TypeScript hand each other in one call. */
export const SCRATCH = layout.array(16, 8);

/** Number of mappings in the guest-physical memory map. */
export const MAP_COUNT = layout.take(4);
/** Most mappings that the memory map can hold (vmm(4)'s limit is 22). */
export const MAP_MAX = 32;
/** Bytes of one mapping: gpa u64, end u64, offset in memory 1 u64, protection u64. */
export const MAP_STRIDE = 32;
/** The guest-physical memory map, ordered by use. */
export const MAP = layout.array(MAP_MAX, MAP_STRIDE);

/** log2 of the entries in one TLB array. */
export const TLB_BITS = 14;
/** Entries of one TLB array. */
export const TLB_ENTRIES = 1 << TLB_BITS;
/**
 * Bytes of a TLB entry: tag for reads, tag for writes, tag for fetches, addend.
 * A tag is the page's linear address, or that xor `TLB_MISMATCH`; linear address plus
 * addend is the offset in memory 1.
 */
export const TLB_STRIDE = 32;
export const TLB_READ = 0;
export const TLB_WRITE = 8;
export const TLB_FETCH = 16;
export const TLB_ADDEND = 24;
/**
 * Xored into a page's address this gives a tag that matches nothing: its page has
 * another entry, so no address (canonical or not) that looks here can equal it.
 */
export const TLB_MISMATCH = 0x1000;
/** As `TLB_MISMATCH`, in the tag for writes of a page that holds code. */
export const TLB_CODE = 0x2000;
/** Bytes of one TLB array. */
export const TLB_ARRAY = TLB_ENTRIES * TLB_STRIDE;
/**
 * TLB arrays of an address space, by mode: 0 supervisor, 1 user, 2 supervisor with
 * user access, 3 user with alignment checks, whose array stays empty so that
 * every access takes the slow path, which checks.
 */
export const TLB_MODES = 4;
export const TLB_MODE_SUPERVISOR = 0;
export const TLB_MODE_USER = 1;
export const TLB_MODE_OPEN = 2;
export const TLB_MODE_ALIGNED = 3;
/** Address spaces (PCIDs) that keep their TLB at the same time. */
export const TLB_SPACES = 4;
export const TLB = layout.array(TLB_SPACES * TLB_MODES, TLB_ARRAY, 64);
/** Per TLB entry: flags u32 (`META_GLOBAL`, `META_LARGE`). */
export const TLB_META = layout.array(
  TLB_SPACES * TLB_MODES * TLB_ENTRIES,
  4,
  64,
);
/** The page is global (CR4.PGE). */
export const META_GLOBAL = 1;
/** The page is part of a large page, or may be. */
export const META_LARGE = 2;
/** log2 of the slots in `TLB_WRITERS`. */
export const WRITERS_BITS = 15;
/**
 * Which entries write to a page of memory 1, by the low bits of its number: two entries'
 * addresses, 0 for none, of which some may be out of date; `WRITERS_MANY` first where
 * there were more.
 */
export const TLB_WRITERS = layout.array(1 << WRITERS_BITS, 8, 64);
export const WRITERS_MANY = -1;
/** Entries logged as filled since the last flush, one log an address space. */
export const TLB_LOG_MAX = 16384;
export const TLB_LOG = layout.array(TLB_SPACES * TLB_LOG_MAX, 4, 64);
/** Entries in each log; above `TLB_LOG_MAX` the log has overflowed: i32 each. */
export const TLB_LOG_COUNT = layout.array(TLB_SPACES, 4, 4);
/** How many of them, the first ones, were kept by the last flush: i32 each. */
export const TLB_LOG_KEPT = layout.array(TLB_SPACES, 4, 4);
/**
 * Where each address space has entries of large pages since it was emptied: a bit for
 * each gigabyte by `runtime/tlb.ts`'s hash; u64 each.
 */
export const TLB_LARGE = layout.array(TLB_SPACES, 8);
/** The address space in use: i32, 0 to TLB_SPACES - 1. */
export const TLB_SPACE = layout.take(4);
/** The PCID that each address space holds, plus 1; 0 for none: i32 each. */
export const SPACE_PCIDS = layout.array(TLB_SPACES, 4, 4);
/** The generation of user code in each address space; 0 for none yet: i32 each. */
export const SPACE_JUMPS = layout.array(TLB_SPACES, 4, 4);
/** The address space that the next new PCID takes: i32. */
export const SPACE_VICTIM = layout.take(4);

/** Bits of CR4 that the processor does not have: u64, set from CPUID. */
export const CR4_RESERVED = layout.take(8);
/** Bits of XCR0 that the processor does not have: u64, set from CPUID. */
export const XCR0_RESERVED = layout.take(8);
/**
 * Non-zero where the trace trap of the instruction that retired goes by TF as it is
 * now, not as it was before: SYSCALL, SYSRET, INT n. The engine clears it: i32.
 */
export const TRACE_AFTER = layout.take(4);

/** Non-zero since decoded code was dropped, until the engine looked: i32. */
export const CODE_DROPPED = layout.take(4);

/**
 * This thread's bit among the holders of a page's code, or 0 where more than one engine
 * in the thread may hold it: i32.
 */
export const CODE_HOLDER = layout.take(4);
/** log2 of the bytes in each part of a page that code is looked for in. */
export const GRAIN_BITS = 3;
/** Bytes in which each part of a page has a bit. */
export const GRAIN_BYTES = 4096 >> GRAIN_BITS >> 3;
/** log2 of the pages that are noted in `CODE_GRAINS`. */
export const GRAINS_BITS = 11;
/** In an entry: a bit for each part with code; after them the page's number plus 1, i32. */
export const GRAINS_PAGE = GRAIN_BYTES;
/** Bytes of an entry. */
export const GRAINS_STRIDE = GRAIN_BYTES + 8;
/** Where pages that are written hold code, by the low bits of their number. */
export const CODE_GRAINS = layout.array(
  1 << GRAINS_BITS,
  GRAINS_STRIDE,
  8,
);

/** A segment slot for the stack that a transfer is about to switch to. */
export const NEXT_SS = layout.array(1, SEGMENT_STRIDE);
/** Words that a transfer between segments pushes or pops: u64 each. */
export const FRAME = layout.array(40, 8);
/** A task's state as read from its TSS: u32 each. See `runtime/tasks.ts`. */
export const TASK = layout.array(20, 4);

/** log2 of the entries in the jump cache. */
export const JUMP_BITS = 15;
/**
 * Bytes of code that share an entry: jumps into less are rare, and what leads to one
 * page of code lies in a quarter of the lines, with a quarter of the conflicts.
 */
export const JUMP_GRAIN = 4;
/** Bits of a mixed RIP that choose its entry. */
export const JUMP_MASK = ((1 << JUMP_BITS) - 1) * JUMP_GRAIN;
/** Bytes of a jump cache entry: rip u64, record u32, key u32. */
export const JUMP_STRIDE = 16;
export const JUMP_CACHE = layout.array(1 << JUMP_BITS, JUMP_STRIDE, 64);
export const JUMP_RIP = 0;
export const JUMP_RECORD = 8;
export const JUMP_ENTRY_KEY = 12;

/** log2 of the bytes in `JUMP_PAGES`. */
export const JUMP_PAGES_BITS = 12;
/** Not 0 where the cache may have RIPs of a page, by the low bits of its number. */
export const JUMP_PAGES = layout.array(1 << JUMP_PAGES_BITS, 1, 64);
/** As `TLB_LARGE`, for the large pages that the cache may have RIPs of: u64. */
export const JUMP_LARGE = layout.take(8);

/** log2 of the entries in the block index. */
export const INDEX_BITS = 17;
/** What its hash multiplies page numbers by: odd, and no multiple of a page's size. */
export const INDEX_MULTIPLIER = 0x5bd3;
/**
 * Blocks by offset in memory 1 and mode key, for RIPs that the jump cache does not
 * know: offset u64 (all ones for none), record u32, mode key u32.
 */
export const BLOCK_INDEX = layout.array(1 << INDEX_BITS, JUMP_STRIDE, 64);

/** Bytes of a record: see `record.ts`. */
export const RECORD_STRIDE = 32;
/** Where records begin. */
export const RECORDS = Math.ceil(layout.end / 4096) * 4096;
/** Bytes of records that fit before the code cache is emptied. */
export const RECORDS_SIZE = 24 << 20;
/** Pages of 64 KiB that memory 0 has. */
export const STATE_PAGES = Math.ceil((RECORDS + RECORDS_SIZE) / 65536);

/** Makes a memory 0. */
export function createStateMemory(): WebAssembly.Memory {
  return new WebAssembly.Memory({
    initial: STATE_PAGES,
    maximum: STATE_PAGES,
    shared: true,
  });
}

/** Address of general register `index` (hardware numbering). */
export function gprAddress(index: number): number {
  return GPR + index * 8;
}

/** Address of the slot of segment register `index` (ES CS SS DS FS GS). */
export function segmentAddress(index: number): number {
  return SEGMENTS + index * SEGMENT_STRIDE;
}

/** Address of vector register `index`. */
export function vectorAddress(index: number): number {
  return XMM + index * VECTOR_STRIDE;
}

/** Bits of `EXIT_CONTROLS`. */
export const EXIT_ON = {
  /** PAUSE exits */
  PAUSE: 1,
  /** CPUID exits */
  CPUID: 2,
} as const;
