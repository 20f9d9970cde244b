// `deno task compile [DIR]`: makes the stand-alone executables bhyve, bhyvectl and
// bhyveload in DIR (default `out`), each with the permissions that it needs and no
// others. `DENORT_BIN` names the base binary where Deno cannot download one.

import { V8_FLAGS } from "./bhyve/v8_flags.ts";
import { fileURLToPath } from "node:url";
import { RUNTIME_FILE } from "./vmm/cpu/embedded_runtime.ts";
import { runtimeBytes } from "./vmm/cpu/handlers.ts";

interface Executable {
  readonly name: string;
  readonly entry: string;
  readonly permissions: readonly string[];
  /** modules that are loaded by workers, and files */
  readonly includes: readonly string[];
}

/** What says where the vmm root is. */
const ROOT_VARIABLES = "VMM_ROOT,XDG_RUNTIME_DIR,TMPDIR";
const FILES = ["--allow-read", "--allow-write"];
/** Since Deno 2.5 a Unix socket needs permission to use the network. */
const SOCKETS = isAtLeast(2, 5) ? ["--allow-net"] : [];

const EXECUTABLES: readonly Executable[] = [
  {
    name: "bhyve",
    entry: "main.ts",
    permissions: [
      `--allow-env=${ROOT_VARIABLES},BHYVE_JIT`,
      "--allow-sys=uid,hostname",
      ...FILES,
      // TTY backends that listen.
      "--allow-net",
      // Pins vCPUs to host CPUs, and lowers the priority of what compiles.
      "--allow-run=ps,taskset,renice",
    ],
    includes: [
      "bhyve/worker.ts",
      "bhyve/vcpu_worker.ts",
      "vmm/cpu/regions/compiler_worker.ts",
      fileURLToPath(RUNTIME_FILE),
    ],
  },
  {
    name: "bhyvectl",
    entry: "bhyvectl/main.ts",
    permissions: [
      `--allow-env=${ROOT_VARIABLES}`,
      "--allow-sys=uid",
      ...FILES,
      ...SOCKETS,
    ],
    includes: [],
  },
  {
    name: "bhyveload",
    entry: "bhyveload/main.ts",
    permissions: [
      `--allow-env=${ROOT_VARIABLES}`,
      "--allow-sys=uid",
      ...FILES,
      ...SOCKETS,
    ],
    includes: [],
  },
];

function isAtLeast(major: number, minor: number): boolean {
  const [ours = 0, theirs = 0] = Deno.version.deno.split(".").map(Number);
  return ours > major || (ours === major && theirs >= minor);
}

async function compile(
  { name, entry, permissions, includes }: Executable,
  directory: string,
): Promise<void> {
  const output = `${directory}/${name}`;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "compile",
      "--quiet",
      "--no-check",
      "--unstable-worker-options",
      V8_FLAGS,
      ...permissions,
      ...includes.flatMap((path) => ["--include", path]),
      "--output",
      output,
      entry,
    ],
    cwd: import.meta.dirname!,
    stderr: "piped",
  }).output();
  if (!success) {
    const reason = new TextDecoder().decode(stderr).trim();
    throw new Error(`Cannot compile ${name}: ${reason}`);
  }
  console.log(output);
}

const directory = Deno.args[0] ?? "out";
await Deno.mkdir(directory, { recursive: true });
const output = await Deno.realPath(directory);
await Deno.writeFile(RUNTIME_FILE, runtimeBytes());
try {
  for (const executable of EXECUTABLES) await compile(executable, output);
} finally {
  await Deno.remove(RUNTIME_FILE);
}
