import { assertEquals } from "@std/assert";
import { gla2gpa } from "./gla2gpa.ts";
import { PROT } from "./ioctl.ts";

const PAGE = 4096;
const NX = 1n << 63n;

/** 64 KiB of memory with tables in it. */
class Tables {
  readonly bytes = new Uint8Array(16 * PAGE);
  readonly #view = new DataView(this.bytes.buffer);

  view(gpa: number, length: number): Uint8Array | undefined {
    return gpa + length <= this.bytes.length
      ? this.bytes.subarray(gpa, gpa + length)
      : undefined;
  }

  put64(table: number, index: number, entry: bigint): this {
    this.#view.setBigUint64(table * PAGE + 8 * index, entry, true);
    return this;
  }

  put32(table: number, index: number, entry: number): this {
    this.#view.setUint32(table * PAGE + 4 * index, entry, true);
    return this;
  }

  get64(table: number, index: number): bigint {
    return this.#view.getBigUint64(table * PAGE + 8 * index, true);
  }
}

const LONG = { cr3: 0x1000n, cpl: 0, cpu_mode: 3, paging_mode: 3 };
const QUIET = { marks: false };

function fourLevels(leaf: bigint): Tables {
  return new Tables().put64(1, 1, 0x2007n).put64(2, 2, 0x3007n)
    .put64(3, 3, 0x4007n).put64(4, 4, leaf);
}

const GLA = 1n << 39n | 2n << 30n | 3n << 21n | 4n << 12n | 5n;

Deno.test("gla2gpa() walks four levels and keeps the offset", () => {
  const result = gla2gpa(fourLevels(0xa_b003n), LONG, GLA, PROT.READ, QUIET);
  assertEquals(result, { kind: "address", gpa: 0xa_b005n });
});

Deno.test("gla2gpa() faults as the processor would", () => {
  const errorOf = (leaf: bigint, cpl: number, prot: number) => {
    const paging = { ...LONG, cpl };
    const result = gla2gpa(fourLevels(leaf), paging, GLA, prot, QUIET);
    return result.kind === "fault" ? result.errorCode : result.kind;
  };
  assertEquals(errorOf(0n, 0, PROT.READ), 0);
  assertEquals(errorOf(0n, 3, PROT.WRITE), 6);
  assertEquals(errorOf(0x1n, 0, PROT.WRITE), 3);
  assertEquals(errorOf(0x3n, 3, PROT.READ), 5);
  assertEquals(errorOf(0x7n | NX, 3, PROT.EXEC), 21);
  assertEquals(errorOf(0x7n, 3, PROT.WRITE), "address");
});

Deno.test("gla2gpa() takes large pages", () => {
  const two = new Tables().put64(1, 1, 0x2007n).put64(2, 2, 0x3007n)
    .put64(3, 3, 0x8000_0083n);
  assertEquals(gla2gpa(two, LONG, GLA, PROT.READ, QUIET), {
    kind: "address",
    gpa: 0x8000_0000n | 4n << 12n | 5n,
  });
  const four = { cr3: 0x1000n, cpl: 0, cpu_mode: 1, paging_mode: 1 };
  const tables = new Tables().put32(1, 1, 0x0080_0083 | 1 << 13);
  assertEquals(gla2gpa(tables, four, 0x40_1234n, PROT.READ, QUIET), {
    kind: "address",
    gpa: 0x1_0080_1234n,
  });
});

Deno.test("gla2gpa() walks PAE, whose first level has no permissions", () => {
  const pae = { cr3: 0x1020n, cpl: 3, cpu_mode: 1, paging_mode: 2 };
  const tables = new Tables().put64(1, 4 + 2, 0x2001n).put64(2, 3, 0x3007n)
    .put64(3, 4, 0x9007n);
  const gla = 2n << 30n | 3n << 21n | 4n << 12n | 7n;
  const result = gla2gpa(tables, pae, gla, PROT.WRITE, QUIET);
  assertEquals(result, { kind: "address", gpa: 0x9007n });
});

Deno.test("gla2gpa() marks tables only where it is asked to", () => {
  const quiet = fourLevels(0xa_b003n);
  gla2gpa(quiet, LONG, GLA, PROT.WRITE, QUIET);
  assertEquals(quiet.get64(4, 4), 0xa_b003n);
  const marked = fourLevels(0xa_b003n);
  gla2gpa(marked, LONG, GLA, PROT.WRITE, { marks: true });
  assertEquals(marked.get64(4, 4), 0xa_b063n);
  assertEquals(marked.get64(1, 1), 0x2027n);
});

Deno.test("gla2gpa() without paging is the address itself; tables elsewhere are bad", () => {
  const flat = { ...LONG, paging_mode: 0 };
  assertEquals(gla2gpa(new Tables(), flat, 99n, PROT.READ, QUIET), {
    kind: "address",
    gpa: 99n,
  });
  const far = { ...LONG, cr3: 0x10_0000n };
  assertEquals(gla2gpa(new Tables(), far, 0n, PROT.READ, QUIET), {
    kind: "bad",
  });
});
