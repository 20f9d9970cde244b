// bhyvectl as a whole: order of execution, failures, statuses, opening and destroying.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { VmmError } from "../vmm/errno.ts";
import { VMMAPI_OPEN } from "../vmm/vmmapi.ts";
import { ACTIONS, bhyvectl, HOST } from "./command.ts";
import { ACTION_ORDER } from "./option_table.ts";
import { ctlOptions, ctlUsage } from "./options.ts";
import { type Answers, ctl } from "./testing.ts";

function fails(code: "EINVAL" | "EACCES" | "EPERM"): () => never {
  return () => {
    throw new VmmError(code);
  };
}

const REGISTERS: Answers = {
  VM_GET_REGISTER: () => ({ regval: 1n }),
  VM_SET_REGISTER: () => ({}),
};

Deno.test("Every option of this host that acts has an action", () => {
  const ours = new Set(ctlOptions(HOST).map(({ name }) => name));
  const elsewhere = ["destroy", "checkpoint", "suspend"];
  const wanted = ACTION_ORDER.filter((name) =>
    ours.has(name) && !elsewhere.includes(name)
  );
  assertEquals([...ACTIONS.keys()].sort(), [...wanted].sort());
});

/** Runs without a machine. */
async function alone(args: string[]) {
  let [out, err] = ["", ""];
  const status = await bhyvectl(args, {
    out: (text) => out += text,
    err: (text) => err += text,
    open: () => Promise.reject(new Error("opened")),
  });
  return { status, out, err };
}

Deno.test("Without a machine's name there is only the usage", async () => {
  const usage = ctlUsage(HOST).join("\n") + "\n";
  assertEquals(await alone([]), { status: 1, out: "", err: usage });
  assertEquals((await alone(["--get-rip"])).err, usage);
  const unknown = await alone(["--vm=demo", "--get-vmcs-link"]);
  assertEquals(unknown.status, 1);
  assertEquals(
    unknown.err,
    "bhyvectl: unrecognized option `--get-vmcs-link'\n" + usage,
  );
});

Deno.test("--help is the usage on standard output, and more", async () => {
  const { status, out, err } = await alone(["--help"]);
  assertEquals([status, err], [0, ""]);
  assert(out.startsWith(ctlUsage(HOST).join("\n") + "\n"));
  assertStringIncludes(out, "--force-poweroff  power the running machine off");
});

Deno.test("Only --create may make the machine", async () => {
  assertEquals((await ctl([])).openFlags, 0);
  assertEquals((await ctl(["--create"])).openFlags, VMMAPI_OPEN.CREATE);
});

Deno.test("A machine that cannot be opened: why, and status 1", async () => {
  const openError = new VmmError("ENOENT");
  const { status, out, err } = await ctl(["--get-rip"], {}, { openError });
  assertEquals([status, out], [1, ""]);
  assertEquals(
    err,
    "vm_open: demo could not be opened: No such file or directory\n",
  );
  const hostile = await ctl(["--vm=\x1b]0;title\x07"], {}, { openError });
  assertStringIncludes(hostile.err, "vm_open: \\x1b]0;title\\x07 could not");
});

Deno.test("Refusals by Deno's permissions are failures, bugs are not", async () => {
  const refuse = (error: Error) => ({
    VM_GET_REGISTER: () => {
      throw error;
    },
  });
  const denied = new Deno.errors.NotCapable("Requires write access to x");
  const { status, out, err } = await ctl(["--get-rip"], refuse(denied));
  assertEquals([status, out], [255, "errno = 13\n"]);
  assertEquals(err, "bhyvectl: --get-rip: Requires write access to x\n");
  const bug = new TypeError("not a function");
  await assertRejects(() => ctl(["--get-rip"], refuse(bug)), TypeError);
});

Deno.test("Nothing to do is no error", async () => {
  const { status, out, err, isClosed } = await ctl([]);
  assertEquals([status, out, err, isClosed], [0, "", "", true]);
});

Deno.test("Requests come in the command's order", async () => {
  const none = () => {
    throw new VmmError("ENOENT");
  };
  const args = ["--force-reset", "--run", "--get-active-cpus", "--getcap"];
  const { requests } = await ctl(
    [
      ...[...args, "--capname=rdpid", "--get-rip", "--set-cs=1", "--get-stats"],
      ...["--set-desc-cs", "--set-rip=0", "--get-memmap", "--inject-nmi"],
      ...["--get-intinfo", "--get-rtc-time", "--set-rtc-time=0"],
    ],
    {
      ...REGISTERS,
      VM_MMAP_GETNEXT: none,
      VM_SET_SEGMENT_DESCRIPTOR: () => ({}),
      VM_INJECT_NMI: () => ({}),
      VM_RTC_SETTIME: () => ({}),
      VM_RTC_GETTIME: () => ({ secs: 0n }),
      VM_GET_INTINFO: () => ({ info1: 0n, info2: 0n }),
      VM_GET_CAPABILITY: () => ({ capval: 1 }),
      VM_GET_CPUS: () => ({ cpus: [] }),
      VM_STATS: () => ({ tv: [0, 0], statbuf: [] }),
      VM_RUN: () => ({ vm_exit: { code: 2, rip: 0n, length: 0 } }),
      VM_SUSPEND: () => ({}),
    },
  );
  assertEquals(
    requests,
    [
      ...["VM_MMAP_GETNEXT", "VM_SET_REGISTER", "VM_SET_SEGMENT_DESCRIPTOR"],
      ...["VM_SET_REGISTER", "VM_INJECT_NMI", "VM_GET_REGISTER"],
      ...["VM_RTC_SETTIME", "VM_RTC_GETTIME", "VM_GET_INTINFO"],
      ...[
        "VM_GET_CAPABILITY",
        "VM_GET_CPUS",
        "VM_STATS",
        "VM_RUN",
        "VM_SUSPEND",
      ],
    ] as typeof requests,
  );
});

Deno.test("The first failure ends it: errno, status 255, nothing destroyed", async () => {
  const result = await ctl(
    ["--get-cr0", "--set-rip=1", "--run", "--destroy", "--get-active-cpus"],
    { ...REGISTERS, VM_GET_REGISTER: fails("EINVAL") },
  );
  assertEquals(result.status, 255);
  assertEquals(result.out, "errno = 22\n");
  assertEquals(result.err, "bhyvectl: --get-cr0: Invalid argument\n");
  assertEquals(result.requests, ["VM_SET_REGISTER", "VM_GET_REGISTER"]);
  assertEquals([result.isDestroyed, result.isClosed], [false, true]);
});

Deno.test("--destroy comes last", async () => {
  const result = await ctl(["--destroy", "--get-rip"], REGISTERS);
  assertEquals(result.status, 0);
  assertEquals(result.out, "rip[0]\t\t0x0000000000000001\n");
  assertEquals([result.isDestroyed, result.isClosed], [true, true]);
});

Deno.test("A machine that cannot be destroyed is a failure", async () => {
  const destroyError = new VmmError("EPERM");
  const { status, out, err } = await ctl(["--destroy"], {}, { destroyError });
  assertEquals([status, out], [255, "errno = 1\n"]);
  assertEquals(err, "bhyvectl: --destroy: Operation not permitted\n");
});

Deno.test("Snapshots are refused by name, before anything is done", async () => {
  for (const name of ["checkpoint", "suspend"]) {
    const result = await ctl([`--${name}=file`, "--destroy"]);
    assertEquals([result.status, result.out], [1, ""]);
    assertEquals(
      result.err,
      `bhyvectl: --${name}: this build has no snapshots\n`,
    );
    assertEquals(result.openFlags, undefined);
  }
});

Deno.test("--cpu out of range is for the machine to refuse", async () => {
  const { status, out } = await ctl(["--cpu=99", "--get-rip"], {
    VM_GET_REGISTER: ({ cpuid }) => {
      if (cpuid > 15) throw new VmmError("EINVAL");
      return { regval: 0n };
    },
  });
  assertEquals([status, out], [255, "errno = 22\n"]);
});
