// The command as a process, on machines at rest in a root of its own.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const MAIN = new URL("./main.ts", import.meta.url).pathname;

interface Run {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function withRoot(
  test: (ctl: (...args: string[]) => Promise<Run>) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "bhyvectl-" });
  try {
    await test(async (...args) => {
      const command = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", MAIN, ...args],
        env: { VMM_ROOT: root, NO_COLOR: "1" },
      });
      const { code, stdout, stderr } = await command.output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      return { status: code, out: text(stdout), err: text(stderr) };
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("A machine's life: created, set up, shown, destroyed", async () => {
  await withRoot(async (ctl) => {
    const done = { status: 0, out: "", err: "" };
    assertEquals(await ctl("--vm=demo", "--create", "--set-mem=4"), done);
    const again = await ctl("--vm=demo", "--create");
    assertEquals(again.status, 1);
    assertEquals(
      again.err,
      "vm_open: demo could not be opened: File exists\n",
    );
    const set = ["--set-cr0=0x80050033", "--set-rflags=0x246"];
    assertEquals(await ctl("--vm=demo", ...set), done);
    const show = ["--get-rflags", "--get-cr0", "--get-memseg"];
    assertEquals(await ctl("--vm=demo", ...show), {
      ...done,
      out: "ID  Length      Name\n0   4MB         sysmem\n" +
        "cr0[0]\t\t0x0000000080050033\nrflags[0]\t0x0000000000000246\n",
    });
    const all = await ctl("--vm=demo", "--get-all");
    assertEquals([all.status, all.err], [0, ""]);
    assertMatch(all.out, /\ncpu_topology:\t.*\n$/);
    assertEquals(await ctl("--vm=demo", "--destroy"), done);
    assertStringIncludes(
      (await ctl("--vm=demo")).err,
      "demo could not be opened: No such file or directory",
    );
  });
});

Deno.test("A machine at rest refuses what vmm(4) refuses", async () => {
  await withRoot(async (ctl) => {
    await ctl("--vm=demo", "--create");
    const cpu = await ctl("--vm=demo", "--cpu=99", "--get-rip");
    assertEquals([cpu.status, cpu.out], [255, "errno = 22\n"]);
    const lvt = await ctl("--vm=demo", "--assert-lapic-lvt=7");
    assertEquals([lvt.status, lvt.out], [255, "errno = 22\n"]);
    const clock = await ctl("--vm=demo", "--set-rtc-nvram=1");
    assertEquals([clock.status, clock.out], [255, "errno = 22\n"]);
    assertEquals((await ctl("--vm=a/b", "--create")).status, 1);
  });
});
