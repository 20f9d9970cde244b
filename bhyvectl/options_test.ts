// bhyvectl's options: which exist where, what their arguments become, and the
// order of actions.

import { assert, assertEquals } from "@std/assert";
import { ACTION_ORDER, CTL_OPTIONS } from "./option_table.ts";
import {
  type CtlCommand,
  type CtlHost,
  ctlOptions,
  type CtlUsage,
  ctlUsage,
  parseCtlOptions,
  parsePptDevice,
} from "./options.ts";

const AMD: CtlHost = { vendor: "amd" };
const INTEL: CtlHost = { vendor: "intel" };

function run(args: string[], host: CtlHost = AMD): CtlCommand {
  const command = parseCtlOptions(["--vm=x", ...args], host);
  if (command.kind !== "run") throw new Error(command.err[0]);
  return command;
}

function refused(args: string[], host: CtlHost = AMD): CtlUsage {
  const command = parseCtlOptions(args, host);
  if (command.kind !== "exit") throw new Error(`${args} were accepted`);
  return command;
}

function names(command: CtlCommand): string[] {
  return command.actions.map(({ name }) => name);
}

Deno.test("Every option that does something has one place in the order", () => {
  const passive = ["vm", "cpu", "capname", "get-all", "create", "desc-base"]
    .concat("desc-limit", "desc-access", "rtc-nvram-offset");
  const active = CTL_OPTIONS.map(({ name }) => name)
    .filter((name) => !passive.includes(name));
  assertEquals(new Set(ACTION_ORDER), new Set(active));
  assertEquals(new Set(ACTION_ORDER).size, ACTION_ORDER.length);
  assertEquals(
    new Set(CTL_OPTIONS.map(({ name }) => name)).size,
    CTL_OPTIONS.length,
  );
});

Deno.test("Options depend on the host", () => {
  const count = (host: CtlHost) => ctlOptions(host).length;
  assertEquals(count({}), 21);
  assertEquals(count(INTEL) - count({}), count(AMD) - count({}) + 30 - 8);
  assertEquals(refused(["--vm=x", "--get-vmcs-link"]).status, 1);
  assertEquals(names(run(["--get-vmcs-link"], INTEL)), ["get-vmcs-link"]);
  assertEquals(refused(["--vm=x", "--get-cr0"], {}).status, 1);
});

Deno.test("Every option is accepted with and without its argument as due", () => {
  for (const { name, argument } of ctlOptions(INTEL)) {
    if (name === "vm") continue;
    const good = argument === undefined ? `--${name}` : `--${name}=1/2/3`;
    const bad = argument === undefined ? `--${name}=1` : `--${name}`;
    run([good], INTEL);
    assertEquals(refused(["--vm=x", bad], INTEL).status, 1, bad);
  }
});

Deno.test("The usage has the name first and then every option", () => {
  const usage = ctlUsage(AMD);
  assertEquals(usage.slice(0, 4), [
    "Usage: bhyvectl --vm=<vmname>",
    "       [--cpu=<vcpu_number>]",
    "       [--set-mem=<memory in units of MB>]",
    "       [--capname=<capname>]",
  ]);
  assertEquals(usage.length, ctlOptions(AMD).length);
  assert(usage.includes("       [--unassign-pptdev=<bus/slot.func>]"));
  const { status, out, err } = refused([]);
  assertEquals([status, out, err], [1, [], usage]);
});

Deno.test("The usage has the machine's options, the registers', the vendor's", () => {
  const names = ctlUsage(AMD).slice(1).map((line) =>
    /^ {7}\[--([\w-]+)(?:=<[^>]+>)?\]$/.exec(line)?.[1]
  );
  assertEquals(names.slice(0, 20), [
    ...["cpu", "set-mem", "capname", "setcap", "getcap", "get-stats"],
    ...["get-memmap", "get-memseg", "get-all", "run", "create", "destroy"],
    ...["force-reset", "force-poweroff", "get-active-cpus", "get-debug-cpus"],
    ...["get-suspended-cpus", "get-cpu-topology", "checkpoint", "suspend"],
  ]);
  assertEquals(names.slice(20, 23), ["set-efer", "set-cr0", "set-cr2"]);
  assertEquals(names.slice(-8), [
    ...["get-vmcb-intercepts", "get-vmcb-asid", "get-vmcb-exit-details"],
    ...["get-vmcb-tlb-ctrl", "get-vmcb-virq", "get-avic-apic-bar"],
    ...["get-avic-backing-page", "get-avic-table"],
  ]);
  const withArguments = ["[--set-cr3=<CR3>]", "[--setcap=<0|1>]"]
    .concat("[--set-x2apic-state=<state>]", "[--get-gpa-pmap=<gpa>]")
    .concat("[--assert-lapic-lvt=<pin>]", "[--set-rtc-time=<secs>]")
    .concat("[--rtc-nvram-offset=<offset>]", "[--set-rtc-nvram=<val>]")
    .concat("[--desc-access=<ACCESS>]", "[--set-ldtr=<LDTR>]");
  for (const text of withArguments) {
    assert(ctlUsage(AMD).includes(`       ${text}`), text);
  }
});

Deno.test("getopt_long's messages come before the usage", () => {
  const rows: [string, string][] = [
    ["--nothing", "bhyvectl: unrecognized option `--nothing'"],
    ["--get-cr", "bhyvectl: option `--get-cr' is ambiguous"],
    ["--set-cr0", "bhyvectl: option `--set-cr0' requires an argument"],
    ["--run=1", "bhyvectl: option `--run' doesn't allow an argument"],
  ];
  for (const [option, message] of rows) {
    assertEquals(refused(["--vm=x", option]).err[0], message);
  }
});

Deno.test("Actions are in the command's order, not the command line's", () => {
  const command = run([
    ...["--destroy", "--run", "--get-rip", "--set-cr0=1", "--getcap"],
    ...["--set-desc-cs", "--get-stats", "--set-mem=512", "--get-gpa-pmap=0"],
    ...["--force-reset", "--inject-nmi", "--create"],
  ]);
  assertEquals(names(command), [
    ...["set-mem", "set-cr0", "set-desc-cs", "inject-nmi", "get-rip"],
    ...["get-gpa-pmap", "getcap", "get-stats", "run", "force-reset"],
    "destroy",
  ]);
  assertEquals(command.create, true);
});

Deno.test("Numbers are read as C reads them, and the last wins", () => {
  const command = run([
    ...["--set-rax=0x10", "--set-rip=junk", "--set-rsp=010", "--cpu", "3x"],
    ...["--set-rflags=1", "--set-rflags=-1", "--desc-base=0xf000"],
    ...["--desc-limit=5", "--desc-access=7", "--rtc-nvram-offset=0x50"],
    ...["--set-mem=64MB", "--capname=hlt_exit", "--setcap=1"],
  ]);
  assertEquals(
    command.actions.map(({ name, value }) => [name, value]),
    [
      ["set-mem", 64n],
      ["set-rsp", 8n],
      ["set-rip", 0n],
      ["set-rax", 16n],
      ["set-rflags", 0xffff_ffff_ffff_ffffn],
      ["setcap", 1n],
    ],
  );
  assertEquals(command.cpu, 3);
  assertEquals(command.operands, {
    descBase: 0xf000n,
    descLimit: 5n,
    descAccess: 7n,
    rtcOffset: 0x50n,
    capname: "hlt_exit",
  });
  assertEquals(run([]).operands.descBase, 0n);
});

Deno.test("--get-all stands for every getter of the host", () => {
  const all = names(run(["--get-all"]));
  assertEquals(all, run(["--get-all", "--getcap"]).actions.map((a) => a.name));
  for (const name of ["get-memmap", "get-cr0", "get-avic-table", "getcap"]) {
    assert(all.includes(name), name);
  }
  assert(!all.includes("get-gpa-pmap"));
  assert(!all.includes("get-vmcs-link"));
  assertEquals(names(run(["--get-all"], {})), [
    ...["get-memseg", "get-memmap", "getcap", "get-active-cpus"],
    ...["get-debug-cpus", "get-suspended-cpus", "get-stats"],
    "get-cpu-topology",
  ]);
});

Deno.test("One snapshot at a time", () => {
  const [action] = run(["--checkpoint=f"]).actions;
  assertEquals(action, { name: "checkpoint", text: "f" });
  const both = ["--checkpoint=f", "--suspend=g"];
  assertEquals(refused(["--vm=x", ...both]).status, 1);
  assertEquals(refused(["--vm=x", "--suspend=f", "--suspend=f"]).status, 1);
});

Deno.test("--unassign-pptdev wants three numbers", () => {
  const [action] = run(["--unassign-pptdev=1/2/3"]).actions;
  assertEquals(action?.device, { bus: 1, slot: 2, func: 3 });
  for (const text of ["1/2", "1/2.3", "x", ""]) {
    assertEquals(parsePptDevice(text), undefined);
    assertEquals(refused(["--vm=x", `--unassign-pptdev=${text}`]).status, 1);
  }
});

Deno.test("Words that are no options are ignored, prefixes are completed", () => {
  assertEquals(names(run(["word", "--destr", "other"])), ["destroy"]);
});
