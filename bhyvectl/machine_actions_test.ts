// Memory, clock, CPU sets and suspension as bhyvectl prints and sets them.

import { assertEquals } from "@std/assert";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import { VmmError } from "../vmm/errno.ts";
import type { MemoryMap, MemorySegment } from "../vmm/ioctl.ts";
import { mappingRow } from "./machine_actions.ts";
import { type Answers, ctl, printed } from "./testing.ts";

const SEGMENTS: readonly MemorySegment[] = [
  { segid: 0, len: 128 << 20, name: "" },
  { segid: 8, len: 2 << 20, name: "bootrom" },
];
const LAST_SEGMENT = 10;
const ROM_GPA = 0xffe0_0000n;

const MAPS: readonly MemoryMap[] = [
  { gpa: 0n, segid: 0, segoff: 0, len: 128 << 20, prot: 7, flags: 0 },
  { gpa: ROM_GPA, segid: 8, segoff: 0x1000, len: 1 << 20, prot: 5, flags: 3 },
];

const MEMORY: Answers = {
  VM_GET_MEMSEG: ({ segid }) => {
    if (segid > LAST_SEGMENT) throw new VmmError("EINVAL");
    return SEGMENTS.find((segment) => segment.segid === segid) ??
      { segid, len: 0, name: "" };
  },
  VM_MMAP_GETNEXT: ({ gpa }) => {
    const next = MAPS.find((map) => map.gpa + BigInt(map.len) > gpa);
    if (next === undefined) throw new VmmError("ENOENT");
    return next;
  },
};

Deno.test("--get-memseg and --get-memmap are tables, in this order", async () => {
  assertEquals(await printed(["--get-memmap", "--get-memseg"], MEMORY), [
    "ID  Length      Name",
    "0   128MB       sysmem",
    "8   2MB         bootrom",
    "Address     Length      Segment     Offset      Prot  Flags",
    "0           128MB       sysmem      0           RWX   ",
    "FFE00000    1MB         bootrom     1000        R-X   wired/iommu",
  ]);
});

Deno.test("A mapping's row shows each protection and flag", () => {
  const row = (prot: number, flags: number) =>
    mappingRow({ ...MAPS[0]!, prot, flags }, "").slice(48);
  assertEquals(row(0, 1), "---   wired");
  assertEquals(row(2, 2), "-W-   iommu");
});

Deno.test("A memory map without an end is cut off", async () => {
  const lines = await printed(["--get-memmap"], {
    ...MEMORY,
    VM_MMAP_GETNEXT: () => ({ ...MAPS[0]!, len: 0 }),
    VM_GET_MEMSEG: () => ({ ...SEGMENTS[0]!, name: "\x1b[31mred" }),
  });
  assertEquals(lines.length, 257);
  assertEquals(lines[1]?.includes("\\x1b[31mred"), true);
});

Deno.test("--set-mem is in MB, rounded up to 2 MB, mapped nowhere", async () => {
  const sizes: number[] = [];
  const answers: Answers = {
    VM_ALLOC_MEMSEG: ({ len }) => {
      sizes.push(len);
      return {};
    },
    VM_MMAP_GETNEXT: () => {
      throw new VmmError("ENOENT");
    },
    VM_MMAP_MEMSEG: () => ({}),
  };
  for (const size of ["128", "3", "0", "junk"]) {
    const { status } = await ctl([`--set-mem=${size}`], answers);
    assertEquals(status, 0, size);
  }
  assertEquals(sizes, [128 << 20, 4 << 20]);
  const negative = await ctl(["--set-mem=-5"], answers);
  assertEquals([negative.out, negative.status], ["errno = 22\n", 255]);
});

Deno.test("--get-gpa-pmap prints the walk, the top first", async () => {
  const walk = (pte: bigint[]) =>
    printed(["--get-gpa-pmap=0x1000"], { VM_GET_GPA_PMAP: () => ({ pte }) });
  assertEquals(await walk([0x2007n, 0x3007n, 0n]), [
    "gpa 0x1000: 0x2007 0x3007 0",
  ]);
  assertEquals(await walk([]), ["gpa 0x1000:"]);
});

Deno.test("The clock's memory and time are set first, then printed", async () => {
  const bytes = new Uint8Array(128);
  let secs = 0n;
  const answers: Answers = {
    VM_RTC_WRITE: ({ offset, value }) => {
      bytes[offset] = value;
      return {};
    },
    VM_RTC_READ: ({ offset }) => ({ value: bytes[offset]! }),
    VM_RTC_SETTIME: (payload) => {
      secs = payload.secs;
      return {};
    },
    VM_RTC_GETTIME: () => ({ secs }),
  };
  const args = ["--get-rtc-time", "--set-rtc-time=86400", "--get-rtc-nvram"];
  const nvram = ["--set-rtc-nvram=0x1a5", "--rtc-nvram-offset=0x34"];
  assertEquals(await printed([...args, ...nvram], answers), [
    "rtc nvram[052]: 0xa5",
    "rtc time 0x15180: Fri Jan 02 00:00:00 1970",
  ]);
});

Deno.test("CPU sets and topology", async () => {
  const sets = [[0, 1, 3], [2], []];
  const args = ["--get-suspended-cpus", "--get-active-cpus"];
  const lines = await printed(
    [...args, "--get-debug-cpus", "--get-cpu-topology"],
    {
      VM_GET_CPUS: ({ which }) => ({ cpus: sets[which]! }),
      VM_GET_TOPOLOGY: () => ({
        sockets: 1,
        cores: 2,
        threads: 1,
        maxcpus: 16,
      }),
    },
  );
  assertEquals(lines, [
    "active cpus:\t 0, 1, 3",
    "debug cpus:\t (none)",
    "suspended cpus:\t 2",
    "cpu_topology:\tsockets=1, cores=2, threads=1, maxcpus=16",
  ]);
});

Deno.test("--force-reset and --force-poweroff give the reason", async () => {
  const reasons: number[] = [];
  const answers: Answers = {
    VM_SUSPEND: ({ how }) => {
      if (reasons.push(how) > 1) throw new VmmError("EALREADY");
      return {};
    },
  };
  const both = await ctl(["--force-poweroff", "--force-reset"], answers);
  assertEquals(reasons, [SUSPEND.RESET, SUSPEND.POWEROFF]);
  assertEquals([both.out, both.status], ["errno = 37\n", 255]);
});

Deno.test("There is no passthrough device to take back", async () => {
  const { out, err } = await ctl(["--unassign-pptdev=1/2/3"]);
  assertEquals(out, "errno = 2\n");
  assertEquals(
    err,
    "bhyvectl: --unassign-pptdev: there is no passthrough device 1/2/3\n",
  );
});
