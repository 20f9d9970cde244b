// The pairs of records that have fused handlers: families that compilers put next to
// each other. On a kernel's boot and under programs they save 30 % of the tail calls of
// threaded code; twice as many save 2 to 5 % more.

import { EA_BASED, EA_FLAT, NOTHING, PROFILE } from "./steps.ts";
import { COMMON_DEFINITIONS } from "./forms/mod.ts";
import type { WantedHandler } from "./handlers.ts";
import { PLAIN, type Shape } from "./shape.ts";

/** Two records in a row. */
export type FusedPair = readonly [WantedHandler, WantedHandler];

/** Table indices that a pair's key has room for, each. */
const INDICES = 1 << 14;

/** Tells pairs of table indices apart; undefined where no fused handler is of them. */
export function pairKey(first: number, second: number): number | undefined {
  return first < INDICES && second < INDICES
    ? first * INDICES + second
    : undefined;
}

// A family: names of definitions, with "|base" or "|ea" where memory is the operand. Of
// encodings that do the same (Jne_rel32_64) one stands for all.
type Family = readonly string[];

function family(...names: readonly string[]): Family {
  return names.flatMap((one) => one.split(" "));
}

const FLAT: Family = [EA_FLAT.name];
const BASED: Family = [EA_BASED.name];
const ENTRY: Family = [PROFILE.name];
const IDLE: Family = [NOTHING.name];

const COMPARISONS = family(
  "Cmp_rm64_r64 Cmp_rm32_r32 Cmp_rm64_imm8 Cmp_rm32_imm8",
);
const ORDERS = family(
  "Je_rel8_64 Jne_rel8_64 Jb_rel8_64 Jae_rel8_64 Jbe_rel8_64 Ja_rel8_64",
);
const TESTS = family(
  "Test_rm64_r64 Test_rm32_r32 Test_rm8_r8 Test_rm8_imm8 Test_rm32_imm32",
  "Test_rm8_imm8|base And_rm32_imm8 Cmp_rm8_imm8 Cmp_rm8_imm8|base",
  "Cmp_rm64_imm8|base",
);
const ZERO = family("Je_rel8_64 Jne_rel8_64");

const MOVES = family(
  "Mov_rm64_r64 Mov_rm32_r32 Mov_r64_rm64|base Mov_r32_rm32|base",
  "Mov_rm64_r64|base Lea_r64_m|base Add_rm64_imm8",
);
const CONSTANTS = family("Xor_rm32_r32 Mov_r32_imm32");
const AWAY = family("Call_rel32_64 Jmp_rel32_64");

// "Jmp" stands for the end of a block that only leads on, too.
const RULES: readonly (readonly [Family, Family])[] = [
  [COMPARISONS, ORDERS],
  [TESTS, ZERO],
  [
    family("Cmp_r64_rm64|base Cmp_r32_rm32|base"),
    family("Jb_rel8_64 Jae_rel8_64"),
  ],
  [ZERO, family("Add_rm64_imm8 Mov_r64_rm64|base")],
  [MOVES, MOVES],
  [MOVES, AWAY],
  [CONSTANTS, AWAY],
  [CONSTANTS, family("Xor_rm32_r32 Mov_r32_imm32 Mov_rm32_r32 Mov_rm64_r64")],
  [
    family("Mov_rm64_r64"),
    family("Sub_rm64_r64 Sub_rm64_imm8 Shl_rm64_imm8 Shr_rm64_imm8"),
  ],
  [family("Mov_rm64_r64"), family("Push_r64 Pop_r64 And_rm32_imm8")],
  [family("Mov_rm64_r64|base Mov_rm32_r32|base"), family("Mov_rm32_r32|base")],
  [family("Mov_rm64_r64|base"), family("Xor_rm32_r32 Cmp_rm64_r64")],
  [family("Mov_rm64_imm32|base"), family("Mov_rm64_imm32|base")],
  [family("Mov_r64_rm64|base"), family("Test_rm64_r64 Cmp_rm64_r64")],
  [family("Mov_r64_rm64|base"), FLAT],
  [family("Mov_r64_rm64|base"), BASED],
  [family("Mov_r32_rm32|base"), family("Test_rm32_r32 Mov_rm32_r32|base")],
  [family("Movzx_r32_rm8|base"), family("Test_rm8_r8 Mov_rm8_r8|base")],
  [family("Movzx_r32_rm8|base"), FLAT],
  [family("Add_rm64_imm8"), family("Pop_r64 Cmp_rm64_r64")],
  [family("Add_rm64_r64"), family("Mov_rm64_r64 Add_rm64_r64 Cmp_rm64_r64")],
  [family("Add_rm32_r32"), family("Mov_rm32_r32 Add_rm32_r32")],
  [family("Shl_rm64_imm8"), family("Add_rm64_r64 Or_rm64_r64")],
  [family("Shr_rm64_imm8"), family("Mov_rm64_r64 Add_rm64_r64")],
  [
    family("Push_r64"),
    family("Push_r64 Mov_rm64_r64 Mov_rm32_r32 Sub_rm64_imm8"),
  ],
  [family("Pop_r64"), family("Pop_r64 Retnq Jmp_rel32_64")],
  [
    FLAT,
    family(
      "Mov_r64_rm64|ea Mov_r32_rm32|ea Movzx_r32_rm8|ea Movzx_r32_rm16|ea",
      "Movsxd_r64_rm32|ea Lea_r64_m|ea Lea_r32_m|ea Mov_rm64_r64|ea",
      "Cmp_r8_rm8|ea Xor_r32_rm32|ea",
    ),
  ],
  [
    BASED,
    family(
      "Mov_r64_rm64|ea Mov_r32_rm32|ea Add_r64_rm64|ea Sub_r64_rm64|ea",
      "Inc_rm32|ea Dec_rm32|ea",
    ),
  ],
  ...[MOVES, CONSTANTS, AWAY, FLAT, BASED, IDLE, COMPARISONS].map(
    (one) => [ENTRY, one] as const,
  ),
  [
    ENTRY,
    family(
      "Movzx_r32_rm8|base Movzx_r32_rm16|base Movsxd_r64_rm32 Push_r64 Pop_r64",
      "Retnq Add_rm32_imm8 Cmp_rm32_imm8|base Test_rm32_r32 Test_rm64_r64",
      "Test_rm8_r8 Cmp_rm8_imm8 Mov_rm32_r32|base",
    ),
  ],
];

/** The pairs. */
export function fusedPairs(): FusedPair[] {
  const byName = new Map(COMMON_DEFINITIONS.map((one) => [one.name, one]));
  const part = (text: string): WantedHandler => {
    const [name = "", memory = "none"] = text.split("|");
    const definition = byName.get(name);
    if (definition === undefined) throw new Error(`No definition "${name}"`);
    return {
      definition,
      shape: { ...PLAIN, memory: memory as Shape["memory"] },
    };
  };
  return RULES.flatMap(([firsts, seconds]) =>
    firsts.flatMap((first) =>
      seconds.map((second) => [part(first), part(second)] as const)
    )
  );
}
