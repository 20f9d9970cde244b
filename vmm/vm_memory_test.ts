import { assertEquals, assertThrows } from "@std/assert";
import { type ErrnoName, VmmError } from "./errno.ts";
import { PROT } from "./ioctl.ts";
import { VmMemory } from "./vm_memory.ts";

const MIB = 2 ** 20;

function assertErrno(code: ErrnoName, act: () => unknown): void {
  assertEquals(assertThrows(act, VmmError).code, code);
}

function withSystemMemory(): VmMemory {
  const memory = new VmMemory();
  memory.allocate({ segid: 0, len: 8 * MIB, name: "" });
  return memory;
}

function mapping(gpa: number, segoff: number, len: number) {
  return { gpa: BigInt(gpa), segid: 0, segoff, len, prot: PROT.ALL, flags: 0 };
}

Deno.test("VmMemory allocates a segment once, and only good ones", () => {
  const memory = withSystemMemory();
  const segment = { segid: 0, len: 8 * MIB, name: "" };
  assertErrno("EEXIST", () => memory.allocate(segment));
  assertErrno("EINVAL", () => memory.allocate({ ...segment, len: MIB }));
  assertErrno("EINVAL", () => memory.allocate({ ...segment, segid: 11 }));
  assertErrno("EINVAL", () => memory.allocate({ ...segment, segid: -1 }));
  const rom = { segid: 8, len: 4096, name: "bootrom" };
  assertErrno("EINVAL", () => memory.allocate({ ...rom, len: 0 }));
  assertErrno("EINVAL", () => memory.allocate({ ...rom, len: 4097 }));
  assertErrno("ENOMEM", () => memory.allocate({ ...rom, len: 2 ** 40 }));
  assertErrno(
    "ENAMETOOLONG",
    () => memory.allocate({ ...rom, name: "x".repeat(16) }),
  );
  memory.allocate(rom);
  assertEquals(memory.segment(8), rom);
  assertEquals(memory.segment(9), { segid: 9, len: 0, name: "" });
});

Deno.test("VmMemory maps parts of segments that do not overlap", () => {
  const memory = withSystemMemory();
  memory.map(mapping(0, 0, 4 * MIB));
  assertErrno("EFAULT", () => memory.map(mapping(2 * MIB, 0, 4 * MIB)));
  assertErrno("EFAULT", () => memory.map(mapping(2 ** 46, 0, MIB)));
  assertErrno("EINVAL", () => memory.map(mapping(4 * MIB, 0, 9 * MIB)));
  assertErrno("EINVAL", () => memory.map(mapping(4 * MIB + 1, 0, MIB)));
  assertErrno("EINVAL", () => memory.map(mapping(4 * MIB, 1, MIB)));
  const good = mapping(4 * MIB, 4 * MIB, MIB);
  assertErrno("EINVAL", () => memory.map({ ...good, prot: 0 }));
  assertErrno("EINVAL", () => memory.map({ ...good, prot: 8 }));
  assertErrno("EINVAL", () => memory.map({ ...good, flags: 4 }));
  assertErrno("EINVAL", () => memory.map({ ...good, segid: 1 }));
  memory.map(good);
  assertEquals(memory.next(0n).len, 4 * MIB);
  assertEquals(memory.next(BigInt(4 * MIB)), good);
  assertErrno("ENOENT", () => memory.next(BigInt(5 * MIB)));
  memory.unmap(good.gpa, good.len);
  assertErrno("EINVAL", () => memory.unmap(good.gpa, good.len));
});

Deno.test("VmMemory has room for 22 mappings", () => {
  const memory = withSystemMemory();
  for (let n = 0; n < 22; n++) memory.map(mapping(n * 8192, 0, 4096));
  assertErrno("ENOSPC", () => memory.map(mapping(MIB, 0, 4096)));
});

Deno.test("VmMemory shows where an address is", () => {
  const memory = withSystemMemory();
  memory.map(mapping(MIB, 2 * MIB, MIB));
  assertEquals(memory.pageMap(BigInt(MIB + 4097)), [
    BigInt(2 * MIB + 4096) | 0x67n,
  ]);
  assertEquals(memory.pageMap(0n), [0n]);
});

Deno.test("a reset keeps system memory and drops that of devices", () => {
  const memory = withSystemMemory();
  memory.map(mapping(0, 0, MIB));
  memory.allocate({ segid: 9, len: MIB, name: "framebuffer" });
  memory.map({ ...mapping(4 * MIB, 0, MIB), segid: 9 });
  memory.reinit();
  assertEquals(memory.segments.map(({ segid }) => segid), [0]);
  assertEquals(memory.mappings.length, 1);
});
