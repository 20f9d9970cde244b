// The tiers against each other on random bytes in every mode, most of which look like
// instructions: each case runs into a fault soon. TIERS_CASES sets how many.

import { assertEquals } from "@std/assert";
import {
  FORCED_REGIONS,
  type RegionOptions,
} from "../../../vmm/cpu/regions/limits.ts";
import {
  CR4,
  type ModeName,
  PageTables,
  PTE,
  randomCode,
  randomSource,
  TestMachine,
} from "../../../vmm/cpu/testing.ts";

const CASES = Number(Deno.env.get("TIERS_CASES") ?? 60);
const SEED = Number(Deno.env.get("TIERS_SEED") ?? 1);
const MODES: readonly ModeName[] = ["real", "vm86", "protected16"];
const ALL_MODES = [...MODES, "protected32", "compat", "long"] as const;
const REGISTERS = ["RAX", "RCX", "RDX", "RBX", "RBP", "RSI", "RDI"] as const;
const KEPT = [...REGISTERS, "RSP", "RIP", "RFLAGS", "CR2"] as const;
const SIZE = 2 << 20;
const USED = 0x2_0000;
const CODE = 0x6000;
const READ_ONLY = 0xb000;
/** More than single steps keep a limit by. */
const LIMIT = 3000;

interface Case {
  readonly mode: ModeName;
  readonly code: Uint8Array;
  readonly registers: readonly number[];
  readonly isUser: boolean;
}

function machineWith(compile: boolean | RegionOptions): TestMachine {
  const bus = { readPort: (port: number) => port & 0xff };
  const readTsc = () => 0n;
  const random = () => 5n;
  return new TestMachine({ compile, size: SIZE, bus, readTsc, random });
}

// Page tables for the modes that need them.
function paging(m: TestMachine, mode: ModeName): { tables?: PageTables } {
  if (mode !== "long" && mode !== "compat") return {};
  const tables = new PageTables(m, "long", 0x10_0000);
  for (let at = 0; at < USED; at += 4096) {
    tables.map(at, at, at === READ_ONLY ? PTE.P | PTE.US : 7);
  }
  return { tables };
}

function run(m: TestMachine, { mode, code, registers, isUser }: Case) {
  const { bytes } = m.memory;
  bytes.fill(0);
  for (let at = 0x7000; at < USED; at++) bytes[at] = at * 37 >> 3;
  bytes.set(code, CODE);
  const cpl = isUser ? 3 : 0;
  m.enter(mode, { ...paging(m, mode), cpl, cr4: CR4.OSFXSR });
  m.memory.dropCode(0, SIZE);
  REGISTERS.forEach((name, n) => m.set({ [name]: registers[n]! }));
  m.set({ RIP: CODE, RSP: 0x9004 });
  const { code: exit } = m.run(LIMIT);
  const kept = KEPT.map((name) => m.get(name));
  return { exit, kept, fx: m.cpu.getFxImage(), memory: bytes.slice(0, USED) };
}

function makeCase(random: () => number): Case {
  const mode = ALL_MODES[random() % ALL_MODES.length]!;
  const registers = REGISTERS.map(() =>
    random() & 3 ? 0x8000 + (random() & 0x3fff) : random()
  );
  const isUser = mode !== "real" && random() % 2 === 0;
  return {
    mode,
    code: randomCode(24 + random() % 100, random),
    registers,
    isUser,
  };
}

Deno.test("random code ends alike on both tiers in every mode", () => {
  const random = randomSource(SEED);
  const threaded = machineWith(false);
  const compiled = [true, { ...FORCED_REGIONS, inPlace: true }].map(
    machineWith,
  );
  for (let n = 0; n < CASES; n++) {
    const one = makeCase(random);
    const expected = run(threaded, one);
    for (const machine of compiled) {
      assertEquals(run(machine, one), expected, `seed ${SEED}, case ${n}`);
    }
  }
  for (const { cpu } of compiled) {
    assertEquals(cpu.statistics.regions!.regions > CASES / 2, true);
  }
});
