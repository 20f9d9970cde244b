// Address translation: page walks of every paging mode (Intel SDM vol. 3, 4.3 to
// 4.6). Not modelled: protection keys, 5-level paging.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import {
  CR0,
  CR3,
  CR4,
  EFER,
  MAP,
  MAP_COUNT,
  MAP_STRIDE,
  META_GLOBAL,
  META_LARGE,
  PDPTE,
  RESERVED_PA,
} from "../state.ts";
import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
} from "./control_bits.ts";
import { pageOf, RIGHT_FETCH, RIGHT_READ, RIGHT_WRITE } from "./tlb.ts";

export * from "./control_bits.ts";
export { tlbArray, tlbEntry, tlbMode } from "./tlb.ts";

/** Kinds of access that a translation is for. */
export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_FETCH = 2;
/** Added to an access: answer -2 instead of raising #PF, set no A or D bit. */
export const ACCESS_PROBE = 4;
/** Added to an access: answer -2 instead of raising #PF. */
export const ACCESS_QUIET = 8;

/** What `translate` answers for an address that is not RAM. */
export const NOT_RAM = -1;
/** What `translate` answers instead of a fault where it must not raise one. */
export const NO_TRANSLATION = -2;

/** SCRATCH slot that `translate` leaves the guest-physical address in. */
export const SCRATCH_PA = 14;
/** SCRATCH slot that `translate` leaves "the page holds code" in, for a write. */
export const SCRATCH_CODE = 15;

/** Page-table entry bits. */
const PTE = {
  P: 1,
  RW: 2,
  US: 4,
  A: 0x20,
  D: 0x40,
  PS: 0x80,
  G: 0x100,
} as const;
const PTE_NX = 1n << 63n;
const ADDRESS_MASK = 0x000f_ffff_ffff_f000n;

/** Page-fault error code bits. */
const PF = { P: 1, W: 2, U: 4, RSVD: 8, I: 16 } as const;

/** Signatures of the functions defined here. */
export const WALK_SIGNATURES = {
  /** Offset in memory 1 of a guest-physical address for reading, or `NOT_RAM`. */
  mapGpa: { params: ["i64"], results: ["i64"] },
  /** As `mapGpa`, for writing: `NOT_RAM` for read-only memory. */
  mapGpaWrite: { params: ["i64"], results: ["i64"] },
  /**
   * Guest-physical page of a linear address with rights and META bits below:
   * linear address, access, TLB mode (0 supervisor, 1 user, 2 supervisor with
   * user access), site. Raises #PF, or answers `NO_TRANSLATION`.
   */
  walk: { params: ["i64", "i32", "i32", "i32"], results: ["i64"] },
} as const;

function low32(cpu: CpuModule, address: number): I32 {
  return cpu.state.load32(0, address);
}

function defineMapGpa(cpu: CpuModule, name: "mapGpa" | "mapGpaWrite"): void {
  const { state } = cpu;
  const needed = name === "mapGpa" ? 1 : 2;
  cpu.define(name, (f) => {
    const pa = f.param(0, "i64");
    const at = f.var("i32", i32(MAP));
    const end = f.let(
      state.load32(0, MAP_COUNT).mul(MAP_STRIDE).add(MAP),
    );
    f.block((none) =>
      f.loop((again) => {
        f.brIf(none, at.get().geU(end));
        const base = f.let(state.load64(at.get()));
        const inside = pa.geU(base).and(
          pa.ltU(state.load64(at.get(), 8)),
        );
        f.if(inside, () => {
          f.brIf(
            none,
            state.load64(at.get(), 24).toI32().and(needed).eqz(),
          );
          f.return(pa.sub(base).add(state.load64(at.get(), 16)));
        });
        f.set(at, at.get().add(MAP_STRIDE));
        f.br(again);
      })
    );
    f.return(i64(NOT_RAM));
  });
}

interface WalkState {
  readonly cpu: CpuModule;
  readonly f: FunctionBuilder;
  readonly la: I64;
  readonly access: I32;
  readonly mode: I32;
  readonly site: I32;
  readonly isWrite: I32;
  readonly isFetch: I32;
  readonly isProbe: I32;
  readonly isQuiet: I32;
  readonly cr4: I32;
  readonly nxe: I32;
}

/** An entry of a page table that a walk came by. */
interface Entry {
  /** where it is for the guest, and in memory 1 */
  readonly gpa: I64;
  readonly at: I64;
  readonly pte: I64;
  readonly legacy: I32;
  /** begins the walk again */
  readonly changed: () => void;
}

// Raises #PF with the bits given and those of the access, or answers that it would.
function fault(w: WalkState, bits: I32): void {
  const { cpu, f } = w;
  f.if(w.isQuiet, () => f.return(i64(NO_TRANSLATION)));
  const user = w.mode.eq(1);
  // The I bit exists only where fetches can be told apart (SDM vol. 3, 4.7).
  const pae = w.cr4.and(CR4_PAE).ne(0).and(w.nxe);
  const fetch = w.isFetch.and(pae.or(w.cr4.and(CR4_SMEP).ne(0)));
  const code = bits.or(w.isWrite.shl(1)).or(user.shl(2)).or(fetch.shl(4));
  f.call(cpu.fn.pageFault, w.site, w.la, code);
  f.unreachable();
}

// Sets A (and D) in an entry, where it can be written; `changed` where it changed meanwhile.
function setAccessed(
  w: WalkState,
  { gpa, at, pte, legacy, changed }: Entry,
  bits: I64,
): void {
  const { f, cpu } = w;
  const wanted = f.let(pte.or(bits));
  const isFree = f.ifValue(
    wanted.ne(pte).and(w.isProbe.eqz()),
    "i32",
    () => f.call(cpu.fn.mapGpaWrite, gpa)[0].ne(NOT_RAM),
    () => i32(0),
  );
  f.if(isFree, () => {
    const old = f.ifValue(
      legacy,
      "i64",
      () => cpu.ram.atomicCmpxchg(4, at, pte, wanted),
      () => cpu.ram.atomicCmpxchg(8, at, pte, wanted),
    );
    f.if(old.ne(pte), changed);
  });
}

// Bits of a leaf above 4 KiB that must be zero, by the bits its page covers.
function reservedInLeaf(legacy: I32, shift: I32): I64 {
  const large = i64(1).shl(shift.toI64U()).sub(0x2000);
  // PSE-36 uses bits 20:13 as address bits 39:32 and reserves bit 21.
  return i64(0x20_0000).when(legacy, large);
}

function defineWalk(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("walk", (f) => {
    const la = f.param(0, "i64");
    const access = f.param(1, "i32");
    const w: WalkState = {
      cpu,
      f,
      la,
      access,
      mode: f.param(2, "i32"),
      site: f.param(3, "i32"),
      isWrite: f.let(access.and(3).eq(ACCESS_WRITE)),
      isFetch: f.let(access.and(3).eq(ACCESS_FETCH)),
      isProbe: f.let(access.and(ACCESS_PROBE).ne(0)),
      isQuiet: f.let(access.and(ACCESS_PROBE | ACCESS_QUIET).ne(0)),
      cr4: f.let(low32(cpu, CR4)),
      nxe: f.let(low32(cpu, EFER).and(EFER_NXE).ne(0)),
    };
    const cr0 = f.let(low32(cpu, CR0));
    f.if(cr0.and(CR0_PG).eqz(), () => {
      const all = RIGHT_READ | RIGHT_WRITE | RIGHT_FETCH | META_GLOBAL;
      f.return(pageOf(la).or(all));
    });
    const long = f.let(low32(cpu, EFER).and(EFER_LMA).ne(0));
    const legacy = f.let(w.cr4.and(CR4_PAE).eqz());
    const cr3 = f.let(state.load64(0, CR3));

    f.loop((restart) => {
      const table = f.var("i64");
      const shift = f.var("i32");
      const rights = f.var("i64", i64(PTE.RW | PTE.US));
      f.if(long, () => {
        f.set(table, cr3.and(ADDRESS_MASK));
        f.set(shift, i32(39));
      }, () =>
        f.if(legacy, () => {
          f.set(table, cr3.and(0xffff_f000));
          f.set(shift, i32(22));
        }, () => {
          const index = la.shrU(30).toI32().and(3);
          const pdpte = f.let(state.load64(index.shl(3), PDPTE));
          f.if(pdpte.toI32().and(PTE.P).eqz(), () => fault(w, i32(0)));
          f.set(table, pdpte.and(ADDRESS_MASK));
          f.set(shift, i32(21));
        }));
      f.loop((next) => {
        const entrySize = i32(4).when(legacy, 8);
        const indexMask = i64(0x3ff).when(legacy, i64(0x1ff));
        const index = la.shrU(shift.get().toI64U()).and(indexMask);
        const gpa = f.let(table.get().add(index.mul(entrySize.toI64U())));
        const [at] = f.call(cpu.fn.mapGpa, gpa);
        // A table outside memory reads as not present.
        f.if(at.eq(NOT_RAM), () => fault(w, i32(0)));
        const pte = f.ifValue(
          legacy,
          "i64",
          () => cpu.ram.load(4, at),
          () => cpu.ram.load(8, at),
        );
        const low = f.let(pte.toI32());
        f.if(low.and(PTE.P).eqz(), () => fault(w, i32(0)));
        const reserved = f.var("i64");
        f.if(legacy.eqz(), () =>
          f.set(
            reserved,
            state.load64(0, RESERVED_PA)
              .or(i64(0).when(w.nxe, i64(PTE_NX)))
              // Bits 62:52 are the system's in long mode, reserved under PAE.
              .or(i64(0).when(long, i64(0x7ff0_0000_0000_0000n))),
          ));
        // PS is reserved in a PML4 entry, and 1 GiB pages are long mode's.
        const ps = low.and(PTE.PS).ne(0);
        f.if(
          shift.get().eq(39).and(ps),
          () => fault(w, i32(PF.P | PF.RSVD)),
        );
        const mayBeLarge = i32(w.cr4.and(CR4_PSE).ne(0)).when(legacy, 1);
        const isLarge = f.let(
          ps.and(shift.get().ne(12)).and(mayBeLarge),
        );
        f.if(
          isLarge,
          () =>
            f.set(
              reserved,
              reserved.get().or(reservedInLeaf(legacy, shift.get())),
            ),
        );
        f.if(
          pte.and(reserved.get()).ne(0),
          () => fault(w, i32(PF.P | PF.RSVD)),
        );
        f.set(
          rights,
          rights.get().and(pte.or(~BigInt(PTE.RW | PTE.US)))
            .or(pte.and(PTE_NX)),
        );
        const isLeaf = f.let(isLarge.or(shift.get().eq(12)));
        const changed = () => f.br(restart);
        const entry: Entry = { gpa, at, pte, legacy, changed };
        f.if(isLeaf, () => {
          finishWalk(w, {
            ...entry,
            shift: f.let(shift.get()),
            isLarge,
            rights: f.let(rights.get()),
            cr0,
          });
        });
        setAccessed(w, entry, i64(PTE.A));
        f.set(table, pte.and(i64(0xffff_f000).when(legacy, i64(ADDRESS_MASK))));
        f.set(shift, shift.get().sub(i32(10).when(legacy, 9)));
        f.br(next);
      });
    });
    f.unreachable();
  });
}

interface Leaf extends Entry {
  readonly shift: I32;
  readonly isLarge: I32;
  readonly rights: I64;
  readonly cr0: I32;
}

// Checks the rights that a walk collected, sets A and D, and returns the page.
function finishWalk(w: WalkState, leaf: Leaf): void {
  const { f } = w;
  const r = f.let(leaf.rights.toI32());
  const userPage = f.let(r.and(PTE.US).ne(0));
  const isUser = f.let(w.mode.eq(1));
  const smap = w.cr4.and(CR4_SMAP).ne(0).and(w.mode.eqz());
  const readable = f.let(
    userPage.when(isUser, userPage.and(smap).eqz()),
  );
  const wp = leaf.cr0.and(CR0_WP).ne(0);
  const rw = r.and(PTE.RW).ne(0);
  const writable = f.let(
    readable.and(rw.or(isUser.eqz().and(wp.eqz()))),
  );
  const nx = leaf.rights.ltS(0).and(w.nxe);
  const smep = w.cr4.and(CR4_SMEP).ne(0);
  const executable = f.let(
    nx.eqz().and(userPage.when(isUser, userPage.and(smep).eqz())),
  );
  const allowed = writable.when(
    w.isWrite,
    executable.when(w.isFetch, readable),
  );
  f.if(allowed.eqz(), () => fault(w, i32(PF.P)));
  const bits = i64(PTE.A | PTE.D).when(w.isWrite, i64(PTE.A));
  setAccessed(w, leaf, bits);
  // Without D a write must come here again to set it.
  const dirty = leaf.pte.toI32().and(PTE.D).ne(0).or(w.isWrite);
  const rightBits = i32(RIGHT_READ).when(readable, 0)
    .or(i32(RIGHT_WRITE).when(writable.and(dirty), 0))
    .or(i32(RIGHT_FETCH).when(executable, 0));
  const global = leaf.pte.toI32().and(PTE.G).ne(0)
    .and(w.cr4.and(CR4_PGE).ne(0));
  const meta = i32(META_LARGE).when(leaf.isLarge, 0)
    .or(i32(META_GLOBAL).when(global, 0));
  const inPage = f.let(i64(1).shl(leaf.shift.toI64U()).sub(1));
  // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32.
  const pse36 = leaf.pte.shrU(13).and(0xff).shl(32)
    .when(leaf.legacy.and(leaf.isLarge), i64(0));
  const addressMask = i64(0xffff_f000).when(leaf.legacy, i64(ADDRESS_MASK));
  const base = leaf.pte.and(addressMask).and(inPage.xor(-1)).or(pse36);
  const pa = base.or(w.la.and(inPage));
  f.return(pageOf(pa).or(rightBits.or(meta).toI64U()));
}

/** Defines the functions of `WALK_SIGNATURES`. */
export function defineWalks(cpu: CpuModule): void {
  defineMapGpa(cpu, "mapGpa");
  defineMapGpa(cpu, "mapGpaWrite");
  defineWalk(cpu);
}
