// The command as a process of its own, with narrow permissions: what each lets it do,
// what it says without, and that nothing is left then.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { writeTree } from "../vmm/loader/_disk_images.ts";
import { inPlace, KERNEL, nodesOf, type Place, SYSTEM } from "./_testing.ts";

const MAIN = new URL("./main.ts", import.meta.url).pathname;
const CONFIG = new URL("../deno.json", import.meta.url).pathname;

interface Permissions {
  readonly read?: readonly string[];
  readonly write?: readonly string[];
}

async function spawn(
  place: Place,
  { read = [], write = [] }: Permissions,
  ...args: readonly string[]
) {
  const flags = [["read", read], ["write", write]] as const;
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", "--no-check", "--config", CONFIG],
      "--allow-env=VMM_ROOT",
      ...flags.filter(([, paths]) => paths.length > 0)
        .map(([name, paths]) => `--allow-${name}=${paths.join(",")}`),
      ...[MAIN, "-m16M", ...args],
    ],
    env: { VMM_ROOT: place.root.paths.root, NO_COLOR: "1" },
    stdin: "null",
  });
  const { code, stdout, stderr } = await process.output();
  const [out, err] = [stdout, stderr].map((b) => new TextDecoder().decode(b));
  return { code, out: out!, err: err! };
}

function makeKernel({ directory }: Place): string {
  const path = `${directory}/kernel`;
  Deno.writeFileSync(path, KERNEL);
  return path;
}

Deno.test("The vmm root and the files named are enough", () =>
  inPlace(async (place) => {
    const { root } = place.root.paths;
    const kernel = makeKernel(place);
    const permissions = { read: [root, kernel], write: [root] };
    const args = ["--kernel", kernel, "vm"];
    const { code, err } = await spawn(place, permissions, ...args);
    assertEquals([code, err], [0, ""]);
    assertEquals(nodesOf(place).includes("vm"), true);
  }));

Deno.test("A host directory needs its own permission, and no more", () =>
  inPlace(async (place) => {
    const { root } = place.root.paths;
    const tree = `${place.directory}/system`;
    Deno.mkdirSync(tree);
    writeTree(tree, SYSTEM);
    const permissions = { read: [root, tree], write: [root] };
    const { code, err } = await spawn(place, permissions, "-h", tree, "vm");
    assertEquals([code, err], [0, ""]);
  }));

Deno.test("A file without permission is named with the flag", () =>
  inPlace(async (place) => {
    const { root } = place.root.paths;
    const kernel = makeKernel(place);
    const permissions = { read: [root], write: [root] };
    const rows: [string[], string][] = [
      [["--kernel", kernel], "read"],
      [["-d", kernel], "read"],
      [["-h", kernel], "read"],
      [["-c", kernel, "-h", "/"], "read"],
    ];
    for (const [args, access] of rows) {
      const { code, err } = await spawn(place, permissions, ...args, "vm");
      assertEquals(code, 64);
      assertEquals(
        err,
        `bhyveload: cannot ${access} ${kernel}: permission is missing, run with --allow-${access}=${kernel}\n`,
      );
      assertEquals(nodesOf(place), []);
    }
    const terminal = { read: [root, kernel], write: [root] };
    const args = ["-c", kernel, "-h", "/", "vm"];
    const { err } = await spawn(place, terminal, ...args);
    assertStringIncludes(err, `run with --allow-write=${kernel}\n`);
  }));

Deno.test("A vmm root without permission is named before anything is read", () =>
  inPlace(async (place) => {
    const { root, machines, runtime } = place.root.paths;
    const kernel = makeKernel(place);
    const rows: [Permissions, string][] = [
      [{ read: [kernel] }, `--allow-read=${machines}/vm`],
      [{ read: [kernel, root] }, `--allow-write=${machines}/vm`],
      [
        { read: [kernel, root], write: [machines] },
        `--allow-write=${runtime}`,
      ],
    ];
    for (const [permissions, flag] of rows) {
      const args = ["--kernel", kernel, "vm"];
      const { code, out, err } = await spawn(place, permissions, ...args);
      assertEquals([code, out], [1, ""]);
      assertStringIncludes(err, `vm_open: no `);
      assertStringIncludes(err, `run with ${flag}\n`);
      assertEquals(nodesOf(place), []);
    }
  }));

Deno.test("Usage and help need no permission at all", () =>
  inPlace(async (place) => {
    const usage = await spawn(place, {}, "-z");
    assertEquals([usage.code, usage.out], [1, ""]);
    assertStringIncludes(usage.err, "illegal option -- z\nusage: bhyveload");
    const help = await spawn(place, {}, "--help");
    assertEquals([help.code, help.err], [0, ""]);
    assertStringIncludes(help.out, "--kernel <file>");
  }));
