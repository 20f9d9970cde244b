// What threads may do to each other's code and translations, as programs: see
// `program.ts`. Rules: Intel SDM vol. 3, 9.1.3 (cross-modifying code) and 4.10.5.

import type { MachineThreads } from "../../../bhyve/threads.ts";
import { le32 } from "../litmus/tests.ts";
import { AT, type Crossing, JUMP, label, type Part } from "./program.ts";

/** MOV EAX, imm32; RET: the immediate is aligned, and the function's page has data. */
const NEAR = 0xb003;
/** The same, for a second writer. */
const NEAR_TOO = 0xb403;
/** Another in a page of its own. */
const APART = 0xf003;
/** One whose immediate lies in two pages. */
const ACROSS = 0xcffd;
/** A longer one that is copied as a whole, and what is copied by turns. */
const LONG = 0xe000;
const EVEN = 0x10_4000;
const ODD = 0x10_4100;
const LONG_BYTES = 24;
const ANSWER_0 = "b800000000c3";

const set = (at: number, value: number) => `c705${le32(at)}${le32(value)}`;
/** MOV [at], EBX. */
const tell = (at: number) => `891d${le32(at)}`;
/** INC DWORD [at]. */
const count = (at: number) => `ff05${le32(at)}`;
/** CMP DWORD [at], 0. */
const isZero = (at: number) => `833d${le32(at)}00`;
/** MOV [RESULT], EAX: what was answered last, which is zero before code changes. */
const keep = `a3${le32(AT.RESULT)}`;
/** CPUID, with EBX kept: EAX, ECX and EDX are lost. */
const SERIALIZE = "89df31c00fa289fb";
/** CMP EAX, EBX. */
const IS_EBX = "39d8";
const PAUSE = "f390";

/** 1: pause; cmp [at], ebx; jne 1b */
const await_ = (at: number) => `${PAUSE}391d${le32(at)}75f6`;
/** 1: pause; cmp dword [at], 0; je 1b */
const awaitWord = (at: number) => `${PAUSE}${isZero(at)}74f5`;

// Where rounds are counted: to the next, or the end, which follows; and what is bad.
function nextRound(error = count(AT.ERRORS)): Part[] {
  return [
    JUMP.notEqual("round"),
    JUMP.always("end"),
    label("bad"),
    error,
    JUMP.always("next"),
    label("end"),
  ];
}

// --- By a handshake ------------------------------------------------------------------

function rewriteAll(rounds: number): Part[] {
  return [
    `bb${le32(rounds)}`,
    label("round"),
    ...[NEAR + 1, ACROSS + 1, EVEN + 3, EVEN + 8, ODD + 5, ODD + 11].map(tell),
    // mov esi, EVEN; test bl, 1; je; mov esi, ODD
    `be${le32(EVEN)} f6c301`,
    JUMP.equal("copy"),
    `be${le32(ODD)}`,
    label("copy"),
    // mov edi, LONG; mov ecx, bytes; rep movsb
    `bf${le32(LONG)} b9${le32(LONG_BYTES)} f3a4`,
    ...[tell(AT.TOLD), await_(AT.HEARD), "4b"],
    JUMP.notEqual("round"),
    set(AT.STOP, 1),
  ];
}

function callAll(rounds: number, calls: number): Part[] {
  return [
    `bb${le32(rounds)}`,
    label("round"),
    ...[await_(AT.TOLD), SERIALIZE, `bd${le32(calls)}`],
    label("calls"),
    ...[NEAR, ACROSS].flatMap((at) => [
      JUMP.call(at),
      IS_EBX,
      JUMP.notEqual("bad"),
    ]),
    ...[JUMP.call(LONG), "d1e8", IS_EBX, JUMP.notEqual("bad")],
    "4d",
    JUMP.notEqual("calls"),
    label("next"),
    ...[count(AT.ROUNDS), keep, tell(AT.HEARD), "4b"],
    ...nextRound(),
  ];
}

// --- By a writer that does not wait ------------------------------------------------------

/** Writes rising numbers into functions and data until it is stopped, then announces. */
function writeOn(at: readonly number[], told: number): Part[] {
  // Both ways to an operand: a base that the stores share, and none.
  const base = at[0]! & ~0xfff;
  return [
    `be${le32(base)} bb01000000`,
    label("on"),
    // mov [esi + function + 1], ebx; mov [esi + 800h], ebx
    `899e${le32(at[0]! + 1 - base)} 899e${le32(0x800 + (told & 0xff))}`,
    ...at.slice(1).map((f) => tell(f + 1)),
    ...[tell(told), "43", isZero(AT.STOP)],
    JUMP.equal("on"),
  ];
}

// Each function answers what was announced before, or more, and never less than it did.
function readOn(
  pairs: readonly (readonly [told: number, functions: readonly number[]])[],
  rounds: number,
  calls: number,
): Part[] {
  const checks = pairs.flatMap(([told, functions]) =>
    functions.flatMap((f, n): Part[] => {
      const name = `${told} ${n}`;
      return [
        // mov ebp, [told]; serialize; mov esi, calls
        `8b2d${le32(told)} ${SERIALIZE} be${le32(calls)}`,
        label(name),
        ...[JUMP.call(f), "39e8", JUMP.less("bad"), "89c5 4e"],
        JUMP.notEqual(name),
      ];
    })
  );
  return [
    `bb${le32(rounds)}`,
    label("round"),
    ...checks,
    label("next"),
    ...[count(AT.ROUNDS), keep, "4b"],
    ...nextRound(),
    set(AT.STOP, 1),
  ];
}

// --- Both write and run ---------------------------------------------------------------

// Its function and its data in four pages that all have theirs in, too.
function rewriteOwn(id: number, rounds: number): Part[] {
  const code = 0x100 * (id + 1);
  const data = 0x800 + 8 * id;
  return [
    `bb${le32(rounds)}`,
    label("round"),
    // edi = the page; mov byte [edi + code], b8h; ...
    `89df 83e703 c1e70c 81c7${le32(0x30_0000)}`,
    `c687${le32(code)}b8 899f${le32(code + 1)} c687${le32(code + 5)}c3`,
    `899f${le32(data)} bd04000000`,
    label("calls"),
    `8d87${le32(code)} ffd0 ${IS_EBX}`,
    JUMP.notEqual("bad"),
    `399f${le32(data)}`,
    JUMP.notEqual("bad"),
    "4d",
    JUMP.notEqual("calls"),
    label("next"),
    ...[id === 0 ? count(AT.ROUNDS) + keep : "", "4b"],
    ...nextRound(`f0${count(AT.ERRORS)}`),
    id === 0 ? "" : set(AT.DONE, 1),
  ];
}

// --- Translations -----------------------------------------------------------------------

const DIRECTORY = 0x11_0000;
const TABLE = 0x11_1000;
/** A page of data and one of code, each in one of two frames by turns. */
const DATA = 0x40_0000;
const TURNED = 0x40_1000;
const FRAMES = 0x20_0000;
const OTHER_FRAME = 0x1000;
const HANDLER = 0x1_c000;
const VECTOR = 0x41;
const PAGING = `0f20e00c100f22e0 b8${
  le32(DIRECTORY)
}0f22d8 0f20c00d000000800f22c0`;
const APIC_ON = "c705f000e0feff010000";

// The page tables turn, an IPI has the other invalidate, and what it did not write then
// to the frame that was there before must stay so.
function turnPages(rounds: number): Part[] {
  return [
    awaitWord(AT.TURNS),
    `bb${le32(rounds)}`,
    label("round"),
    `f08135${le32(TABLE)}${le32(OTHER_FRAME)}`,
    `f08135${le32(TABLE + 4)}${le32(OTHER_FRAME)}`,
    // edi = [HEARD] + 1; the IPI; 1: pause; cmp [HEARD], edi; jne 1b
    `8b3d${le32(AT.HEARD)} 47 c7051003e0fe00000001`,
    `c7050003e0fe${le32(0x4000 | VECTOR)} ${PAUSE}393d${le32(AT.HEARD)}75f6`,
    // eax = the frame before; edx, ebp = its words
    `a1${le32(TABLE)} 2500f0ffff 3500100000 8b5010 8b6820`,
    // esi = [TURNS]; 1: pause; ecx = [TURNS] - esi; cmp ecx, 3; jl 1b
    `8b35${le32(AT.TURNS)} ${PAUSE}8b0d${le32(AT.TURNS)}29f183f9037cf1`,
    "395010",
    JUMP.notEqual("bad"),
    "396820",
    JUMP.notEqual("bad"),
    // eax = what the code answers in its frame
    `a1${le32(TABLE + 4)} c1e80c 83e001 40 3b05${le32(AT.RESULT)}`,
    JUMP.notEqual("bad"),
    label("next"),
    ...[count(AT.ROUNDS), "4b"],
    ...nextRound(),
    set(AT.STOP, 1),
  ];
}

function usePages(): Part[] {
  return [
    `${PAGING} 0f011d00510000 ${APIC_ON} fb 31c9 be${le32(DATA)}`,
    label("turn"),
    `41 894e10 890d${le32(DATA + 0x10)}`,
    JUMP.call(TURNED),
    `894e20 ${keep} 890d${le32(AT.TURNS)} ${isZero(AT.STOP)}`,
    JUMP.equal("turn"),
  ];
}

const HANDLE = `0f013d${le32(DATA)} 0f013d${le32(TURNED)}
  c705b000e0fe00000000 ff05${le32(AT.HEARD)} cf`;

// --- All ----------------------------------------------------------------------------------

const VICTIMS = {
  [NEAR]: ANSWER_0,
  [NEAR_TOO]: ANSWER_0,
  [APART]: ANSWER_0,
  [ACROSS]: ANSWER_0,
  // xor eax, eax; add eax, imm32, twice; ret
  [EVEN]: "31c0 0500000000 0500000000 c3 909090909090909090909090",
  // nop; the same with longer instructions
  [ODD]: "90 31c0 81c000000000 81c000000000 c3 9090909090909090",
  [LONG]: "31c0 c3",
};

/** Every program, by how long it shall run: 1 is a second or so. */
export function crossings(scale: number): readonly Crossing[] {
  const rounds = (count: number) => Math.max(2, Math.round(count * scale));
  const stopped = [awaitWord(AT.STOP)];
  const more = VICTIMS;
  return [
    {
      name: "functions that the other rewrites",
      vcpus: [rewriteAll(rounds(200)), callAll(rounds(200), 300)],
      more,
    },
    {
      name: "a writer that does not wait",
      vcpus: [
        writeOn([NEAR, APART], AT.TOLD),
        readOn([[AT.TOLD, [NEAR, APART]]], rounds(500), 40),
      ],
      more,
    },
    {
      name: "two writers in one page",
      vcpus: [
        writeOn([NEAR], AT.TOLD),
        readOn([[AT.TOLD, [NEAR]], [AT.TOLD_TOO, [NEAR_TOO]]], rounds(100), 10),
        writeOn([NEAR_TOO], AT.TOLD_TOO),
      ],
      more,
    },
    {
      name: "the host writes",
      vcpus: [stopped, readOn([[AT.TOLD, [NEAR, ACROSS]]], rounds(1000), 500)],
      more,
      host: hostWriter([NEAR, ACROSS]),
    },
    {
      name: "both write and run in the same pages",
      vcpus: [
        [...rewriteOwn(0, rounds(2000)), awaitWord(AT.DONE)],
        rewriteOwn(1, rounds(2000)),
      ],
      more,
    },
    {
      name: "page tables that the other changes",
      vcpus: [turnPages(rounds(1000)), usePages()],
      more: {
        [DIRECTORY]: le32(0x83) + le32(TABLE | 3),
        [DIRECTORY + 4 * 0x3fb]: le32(0xfec0_0083),
        [TABLE]: le32(FRAMES | 3) + le32(FRAMES + 2 * OTHER_FRAME | 3),
        [FRAMES + 2 * OTHER_FRAME]: "b801000000c3",
        [FRAMES + 3 * OTHER_FRAME]: "b802000000c3",
        [HANDLER]: HANDLE,
      },
      handlers: { [VECTOR]: HANDLER },
    },
  ];
}

// As a device's DMA: the functions first, then the number that they answer at least.
function hostWriter(
  functions: readonly number[],
): (threads: MachineThreads) => void {
  let number = 0;
  return (threads) => {
    const bytes = new Uint8Array(new Int32Array([++number]).buffer);
    for (const f of functions) threads.write(BigInt(f + 1), bytes);
    threads.write(BigInt(AT.TOLD), bytes);
  };
}
