// `deno task bench cpu`: the software CPU's tiers on small loops, as MIPS and as a
// ratio to the same code on the host; then the floor and the cost of decoding.

import { BenchGuest } from "./guest.ts";
import { measureDecode } from "./decode.ts";
import { measureFloor } from "./floor.ts";
import { type Program, PROGRAMS } from "./programs.ts";

const RUNS = 9;
const WARM_UP_MS = 1500;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

function mips(program: Program, seconds: number): number {
  return program.instructions * program.turns / seconds / 1e6;
}

// V8 optimizes what is hot: the first second and a half do not count.
function measure(program: Program, isCompiled: boolean): number {
  const guest = new BenchGuest(isCompiled ? {} : { compile: false });
  guest.run(program);
  const start = performance.now();
  while (performance.now() - start < WARM_UP_MS) guest.repeat(program);
  const times = Array.from({ length: RUNS }, () => guest.repeat(program));
  return mips(program, median(times));
}

async function buildNative(dir: string): Promise<string | undefined> {
  if (Deno.build.arch !== "x86_64" || Deno.build.os !== "linux") {
    return undefined;
  }
  const source = new URL("./native.c", import.meta.url).pathname;
  const program = `${dir}/native`;
  const { success } = await new Deno.Command("cc", {
    args: ["-O2", "-o", program, source],
  }).output();
  return success ? program : undefined;
}

async function measureNative(
  native: string,
  dir: string,
  program: Program,
): Promise<number> {
  const file = `${dir}/code`;
  await Deno.writeFile(file, new Uint8Array(program.code));
  const { stdout } = await new Deno.Command(native, {
    args: [file, String(program.turns), String(5 * RUNS)],
  }).output();
  const times = new TextDecoder().decode(stdout).trim().split("\n").map(Number);
  return mips(program, median(times));
}

function decodeSample(): Uint8Array | undefined {
  // Any large program of the host is 64-bit code that compilers made.
  const path = Deno.execPath();
  try {
    using file = Deno.openSync(path);
    const bytes = new Uint8Array(1 << 20);
    // Well inside the text section.
    file.seekSync(48 << 20, Deno.SeekMode.Start);
    file.readSync(bytes);
    return bytes;
  } catch {
    return undefined;
  }
}

/** Measures and prints. */
export async function benchCpu(): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    const native = await buildNative(dir);
    console.log("| loop | threaded, MIPS | of native | compiled, MIPS |");
    console.log("| --- | ---: | ---: | ---: |");
    for (const program of PROGRAMS) {
      const threaded = measure(program, false);
      const compiled = measure(program, true);
      const host = native !== undefined && program.kind === "user"
        ? await measureNative(native, dir, program)
        : undefined;
      const ratio = host === undefined
        ? "–"
        : `1/${(host / threaded).toFixed(1)}`;
      console.log(
        `| ${program.name} | ${threaded.toFixed(0)} | ${ratio} | ${
          compiled.toFixed(0)
        } |`,
      );
    }
    const floor = measureFloor(400);
    console.log(
      `\nhand-written threaded code, loads, stores, adds: ${
        floor.toFixed(0)
      } MIPS`,
    );
    const sample = decodeSample();
    if (sample !== undefined) {
      const ns = measureDecode(sample, 20);
      console.log(
        `decoding and record building: ${ns.toFixed(0)} ns an instruction`,
      );
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
