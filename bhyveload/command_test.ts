// The command on real files and a real vmm root: what reaches a machine, what is said,
// and that nothing is left where something fails.

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { makeIso, makeUfs, writeTree } from "../vmm/loader/_disk_images.ts";
import { makeElf } from "../vmm/loader/_testing.ts";
import { REGISTER } from "../vmm/cpu/registers.ts";
import {
  vmActiveCpus,
  vmCreate,
  vmGetDesc,
  vmGetMemseg,
  vmGetRegister,
  vmReadGpa,
  vmSetRegister,
  vmSetupMemory,
  vmVcpuOpen,
  vmWriteGpa,
} from "../vmm/vmmapi.ts";
import {
  digestOf,
  inPlace,
  KERNEL,
  KERNEL_ENTRY,
  load,
  nodesOf,
  type Place,
  SYSTEM,
  withMachine,
} from "./_testing.ts";

const MIB = 2 ** 20;
const SIZE = 16 * MIB;

function write(place: Place, name: string, bytes: Uint8Array | string): string {
  const path = `${place.directory}/${name}`;
  if (typeof bytes === "string") Deno.writeTextFileSync(path, bytes);
  else Deno.writeFileSync(path, bytes);
  return path;
}

function makeSystem(place: Place): string {
  const tree = `${place.directory}/system`;
  Deno.mkdirSync(tree);
  writeTree(tree, SYSTEM);
  return tree;
}

async function memoryText(place: Place, name: string): Promise<string> {
  const bytes = await withMachine(
    place,
    name,
    (ctx) => vmReadGpa(ctx, 0n, SIZE),
  );
  return new TextDecoder("latin1").decode(bytes);
}

Deno.test("A directory, a UFS and an ISO 9660 give the same machine", () =>
  inPlace(async (place) => {
    const tree = makeSystem(place);
    const images = {
      ufs1: await makeUfs(tree, "-o version=1 -s 4m"),
      ufs2: await makeUfs(tree, "-o version=2 -s 4m"),
      iso: await makeIso(tree, ["-R"]),
    };
    const host = await load(place, "-m16M", "-h", tree, "host");
    assertEquals([host.status, host.err], [0, ""]);
    const expected = await digestOf(place, "host", SIZE);
    for (const [kind, bytes] of Object.entries(images)) {
      const path = write(place, kind, bytes);
      const { status, out } = await load(place, "-m16M", "-d", path, kind);
      assertEquals(status, 0, out);
      assertMatch(out, /^FreeBSD from disk0: \((UFS|ISO 9660)\)$/m);
      assertStringIncludes(out, "Loading /boot/kernel/kernel (");
      assertStringIncludes(out, "Loading /boot/kernel/if_made_up.ko (");
      assertEquals(await digestOf(place, kind, SIZE), expected, kind);
    }
  }));

Deno.test("The boot vCPU starts at the kernel, and no other state is set", () =>
  inPlace(async (place) => {
    await load(place, "-m", "16M", "-h", makeSystem(place), "vm");
    await withMachine(place, "vm", async (ctx) => {
      const vcpu = vmVcpuOpen(ctx, 0);
      const registers: [number, bigint][] = [
        [REGISTER.RIP, KERNEL_ENTRY],
        [REGISTER.RSP, 0x1000n],
        [REGISTER.CR0, 0x8000_0021n],
        [REGISTER.CR3, 0x2000n],
        [REGISTER.CR4, 0x20n],
        [REGISTER.EFER, 0x500n],
        [REGISTER.RFLAGS, 2n],
        [REGISTER.CS, 8n],
        [REGISTER.RDX, 0xf00n],
      ];
      for (const [register, value] of registers) {
        assertEquals(await vmGetRegister(vcpu, register), value, `${register}`);
      }
      const table = await vmGetDesc(vcpu, REGISTER.GDTR);
      assertEquals([table.base, table.limit], [0x5000n, 23]);
      // bhyve activates the vCPUs
      assertEquals([...await vmActiveCpus(ctx)], []);
      assertEquals((await vmGetMemseg(ctx, 0)).len, SIZE);
    });
  }));

Deno.test("Variables: built-in ones, those of -e over loader.conf", () =>
  inPlace(async (place) => {
    const variables = ["-e", "kern.hz=250", "-e", "boot_serial=NO"];
    const tree = makeSystem(place);
    await load(place, "-m16M", "-h", tree, ...variables, "vm");
    const text = await memoryText(place, "vm");
    const expected = [
      ...["kern.hz=250", "boot_serial=NO", "boot_verbose=YES"],
      ...["smbios.bios.vendor=BHYVE", "hint.uart.0.at=isa"],
      "vfs.root.mountfrom=ufs:/dev/vtbd0p2",
    ];
    for (const variable of expected) {
      assertStringIncludes(text, `${variable}\0`);
    }
    assert(!text.includes("kern.hz=100"));
  }));

Deno.test("A FreeBSD kernel that is one file takes flags, variables and a disk", () =>
  inPlace(async (place) => {
    const kernel = write(place, "kernel", KERNEL);
    const initrd = write(place, "mfsroot", "the memory disk");
    const args = ["--append", "-s a.b=c", "--initrd", initrd, "-e", "x.y=z"];
    const { status, out } = await load(
      place,
      ...["-m16M", "--kernel", kernel, ...args, "vm"],
    );
    assertEquals(status, 0);
    assertStringIncludes(out, `Loading FreeBSD kernel ${kernel} (`);
    const text = await memoryText(place, "vm");
    const expected = [
      ...["kernel_options=-s\0", "a.b=c\0", "x.y=z\0", "mfs_root\0"],
      ...["the memory disk", "vfs.root.mountfrom=ufs:/dev/md0\0"],
    ];
    for (const part of expected) assertStringIncludes(text, part);
    await withMachine(place, "vm", async (ctx) => {
      const vcpu = vmVcpuOpen(ctx, 0);
      assertEquals(await vmGetRegister(vcpu, REGISTER.RIP), KERNEL_ENTRY);
    });
  }));

/** A machine of its own with a mark in memory and a register. */
async function makeMachine(place: Place, name: string): Promise<void> {
  await vmCreate(name, place.root);
  await withMachine(place, name, async (ctx) => {
    await vmSetupMemory(ctx, SIZE);
    await vmWriteGpa(ctx, 0x30_0000n, Uint8Array.of(1, 2, 3));
    await vmSetRegister(vmVcpuOpen(ctx, 0), REGISTER.RAX, 0x1234n);
  });
}

function mark(place: Place, name: string): Promise<unknown> {
  return withMachine(place, name, async (ctx) => [
    [...await vmReadGpa(ctx, 0x30_0000n, 3)],
    await vmGetRegister(vmVcpuOpen(ctx, 0), REGISTER.RAX),
  ]);
}

const MARK = [[1, 2, 3], 0x1234n];

Deno.test("A machine that is there is reset and loaded, its memory kept", () =>
  inPlace(async (place) => {
    await makeMachine(place, "vm");
    const kernel = write(place, "kernel", KERNEL);
    for (let n = 0; n < 2; n++) {
      const { status } = await load(place, "-m16M", "--kernel", kernel, "vm");
      assertEquals(status, 0);
      assertEquals(await mark(place, "vm"), [[1, 2, 3], 0n]);
    }
  }));

interface Failure {
  readonly args: (place: Place) => string[];
  readonly status: number;
  readonly message: string;
}

const FAILURES: readonly Failure[] = [
  {
    args: () => ["--kernel", "/nothing"],
    status: 64,
    message: "bhyveload: Could not open '/nothing': No such file or directory",
  },
  {
    args: ({ directory }) => ["--kernel", directory],
    status: 64,
    message: "it is a directory, expected a kernel",
  },
  {
    args: (place) => ["--kernel", write(place, "k", KERNEL), "--initrd", "/no"],
    status: 64,
    message: "bhyveload: Could not open '/no': No such file or directory",
  },
  {
    args: ({ directory }) => ["-d", directory],
    status: 64,
    message: "it is a directory, expected a disk image",
  },
  {
    args: () => ["-d", "/nothing"],
    status: 64,
    message: "Could not open '/nothing'",
  },
  {
    args: (place) => ["-h", write(place, "file", "")],
    status: 64,
    message: "it is no directory",
  },
  {
    args: ({ directory }) => ["-h", directory],
    status: 1,
    message: "Cannot find the kernel: looked for /boot/kernel/kernel",
  },
  {
    args: (place) => ["-d", write(place, "image", new Uint8Array(MIB))],
    status: 1,
    message: "Cannot find a file system on disk0: expected UFS or ISO 9660",
  },
  {
    args: (place) => ["--kernel", write(place, "k", "#!/bin/sh\n")],
    status: 1,
    message: "it is a script, expected a Linux bzImage",
  },
  {
    args: (place) => ["--kernel", write(place, "k", KERNEL.slice(0, 3000))],
    status: 1,
    message: "is truncated",
  },
  {
    args: (place) => ["--kernel", write(place, "k", new Uint8Array(17 * MIB))],
    status: 1,
    message: "it has 17.0 MiB, the machine's memory 16.0 MiB",
  },
  {
    args: () => ["-l", "/boot/userboot.so"],
    status: 1,
    message: "a shared object for FreeBSD cannot run here",
  },
  { args: () => [], status: 64, message: "nothing to load" },
  {
    args: () => ["-c", "/nothing/tty", "-h", "/"],
    status: 64,
    message: "bhyveload: Could not open '/nothing/tty'",
  },
];

for (const { args, status, message } of FAILURES) {
  Deno.test(`Nothing changes after: ${message}`, () =>
    inPlace(async (place) => {
      await makeMachine(place, "old");
      const nodes = nodesOf(place).toSorted();
      for (const name of ["new", "old"]) {
        const outcome = await load(place, "-m16M", ...args(place), name);
        assertEquals(outcome.status, status, outcome.err);
        assertStringIncludes(outcome.err, message);
        assertEquals(nodesOf(place).toSorted(), nodes);
      }
      assertEquals(await mark(place, "old"), MARK);
    }));
}

Deno.test("Another size than the machine's is refused before it is reset", () =>
  inPlace(async (place) => {
    await makeMachine(place, "vm");
    const kernel = write(place, "kernel", KERNEL);
    const outcome = await load(place, "-m32M", "--kernel", kernel, "vm");
    assertEquals(outcome.status, 1);
    assertMatch(
      outcome.err,
      /^vm_setup_memory: vm has 16 MiB of memory, -m says 32 MiB/,
    );
    assertEquals(await mark(place, "vm"), MARK);
  }));

Deno.test("A size or name that a machine cannot have leaves nothing", () =>
  inPlace(async (place) => {
    const kernel = write(place, "kernel", KERNEL);
    const size = `${SIZE + 1}`;
    const odd = await load(place, "-m", size, "--kernel", kernel, "vm");
    assertEquals([odd.status, nodesOf(place)], [1, []]);
    assertMatch(odd.err, /^vm_setup_memory: /);
    const name = await load(place, "-m16M", "--kernel", kernel, "a b");
    assertEquals([name.status, nodesOf(place)], [1, []]);
    assertEquals(name.err, "vm_create: Invalid argument\n");
  }));

Deno.test("-e is refused where the kernel is not FreeBSD's", () =>
  inPlace(async (place) => {
    const pvh = makeElf({
      segments: [
        { paddr: 0x10_0000n, vaddr: 0xc010_0000n, bytes: new Uint8Array(64) },
      ],
    });
    const path = write(place, "vmlinux", pvh);
    const outcome = await load(place, "-e", "a=b", "--kernel", path, "vm");
    assertEquals(outcome.status, 64);
    assertStringIncludes(outcome.err, `${path} is a Linux vmlinux`);
    assertEquals(nodesOf(place), []);
  }));

Deno.test("What a disk says cannot steer the terminal", () =>
  inPlace(async (place) => {
    const tree = `${place.directory}/evil`;
    Deno.mkdirSync(tree);
    writeTree(tree, { "boot/loader.conf": "\x1b]0;title\x07 nonsense\n" });
    const { status, err, out } = await load(place, "-m16M", "-h", tree, "vm");
    assertEquals(status, 1);
    assertStringIncludes(err, "\\x1b]0;title\\x07");
    assert(!`${err}${out}`.includes("\x1b"));
  }));

Deno.test("A console that is a file gets the loader's words and errors", () =>
  inPlace(async (place) => {
    const terminal = write(place, "terminal", "");
    const kernel = write(place, "kernel", KERNEL);
    const args = ["-m16M", "-c", terminal, "--kernel", kernel];
    assertEquals((await load(place, ...args, "vm")).out, "");
    const said = Deno.readTextFileSync(terminal);
    assertMatch(said, /^Loading FreeBSD kernel .*\r\n$/);
    Deno.writeTextFileSync(kernel, "text");
    const { status, err } = await load(place, ...args, "vm");
    assertEquals(status, 1);
    assertStringIncludes(err, "it is a text file");
    assertStringIncludes(Deno.readTextFileSync(terminal), "it is a text file");
  }));

Deno.test("The host's directory serves where no disk has a file system", () =>
  inPlace(async (place) => {
    const blank = write(place, "blank", new Uint8Array(MIB));
    const tree = makeSystem(place);
    const { status, out } = await load(
      place,
      ...["-m16M", "-d", blank, "-d", blank, "-h", tree, "vm"],
    );
    assertEquals(status, 0);
    assertStringIncludes(out, "Cannot find a file system on disk1");
    assertStringIncludes(out, "FreeBSD from host0: (host)");
  }));
