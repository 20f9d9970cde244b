// Port I/O: devices, exits and their answers, who may use a port (Intel SDM vol. 1, 19.5).

import { assertEquals } from "@std/assert";
import type { DeviceBus } from "../cpu.ts";
import { EXIT_CODE, type InoutExit } from "../exits.ts";
import { type EnterOptions, type ModeName, TestMachine } from "../testing.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const TSS = 0x9000;
const BITMAP = 0x68;
const UD2 = "0f0b";
const TR = 29;
const TSS32 = 0x8b;

function inout(machine: TestMachine, value?: number): InoutExit {
  const exit = machine.cpu.run(value === undefined ? undefined : { value }, {
    instructions: 100,
  });
  assertEquals(exit.code, EXIT_CODE.INOUT);
  return exit as InoutExit;
}

Deno.test("IN and OUT reach devices", () => {
  const written: unknown[] = [];
  const bus: DeviceBus = {
    readPort: (port, bytes) => port * 0x1000 + bytes,
    writePort: (...access) => written.push(access) > 0,
  };
  const machine = new TestMachine({ bus });
  machine.enter("protected32");
  // in al, 60h; in ax, dx; in eax, dx; out 70h, al; out dx, eax
  machine.poke(CODE, "e460 66ed 89c3 ed e670 ef" + UD2);
  machine.set({ RIP: CODE, RDX: 0x3f8, RAX: -1 });
  machine.runToException();
  assertEquals(machine.get("RBX"), 0xffff8002n);
  assertEquals(machine.get("RAX"), 0x3f8004n);
  assertEquals(written, [[0x70, 1, 4], [0x3f8, 4, 0x3f8004]]);
});

Deno.test("an access that no device takes exits and goes on with the answer", () => {
  const machine = new TestMachine();
  machine.enter("protected32");
  machine.poke(CODE, "e460 40 e670" + UD2);
  machine.set({ RIP: CODE, RAX: 0x1234 });
  const read = inout(machine);
  assertEquals([read.port, read.bytes, read.in], [0x60, 1, true]);
  assertEquals(read.rip, BigInt(CODE));
  const write = inout(machine, 0xa4);
  assertEquals([write.port, write.in, write.value], [0x70, false, 0xa5]);
  const end = machine.cpu.run({}, { instructions: 100 });
  assertEquals(end.code, EXIT_CODE.EXCEPTION);
  assertEquals(machine.get("RAX"), 0x12a5n);
});

Deno.test("REP INS and REP OUTS exit once an element", () => {
  const machine = new TestMachine();
  machine.enter("protected32");
  machine.poke(CODE, "f36d 6a03 59 f36e" + UD2);
  machine.set({ RIP: CODE, RCX: 3, RDI: 0x2000, RSI: 0x2001, RDX: 0x1f0 });
  machine.set({ RSP: 0x7000 });
  let exit = inout(machine);
  for (let n = 1; n <= 3; n++) {
    assertEquals([exit.port, exit.bytes, exit.in], [0x1f0, 4, true]);
    assertEquals([exit.string, exit.rep], [true, true]);
    exit = inout(machine, 0x1111_1111 * n);
  }
  assertEquals(machine.peek32(0x2008), 0x3333_3333);
  for (let n = 0; n < 3; n++) {
    assertEquals([exit.bytes, exit.in, exit.value], [1, false, 0x11]);
    if (n < 2) exit = inout(machine, 0);
  }
  assertEquals(machine.cpu.run({}, { instructions: 9 }).code, 64);
  assertEquals(machine.get("RCX"), 0n);
  assertEquals(machine.get("RSI"), 0x2004n);
});

interface Permission extends EnterOptions {
  readonly mode: ModeName;
  /** bits of the bitmap's first two bytes */
  readonly bitmap?: number;
  readonly limit?: number;
  readonly tss?: number;
  readonly port?: number;
  readonly program?: string;
  readonly allowed: boolean;
}

const IN_AL = "ec";
const IN_EAX = "ed";
const CASES: readonly Permission[] = [
  { mode: "real", allowed: true },
  { mode: "protected32", allowed: true },
  { mode: "protected32", cpl: 3, flags: 0x3002, allowed: true },
  { mode: "protected32", cpl: 3, allowed: true },
  { mode: "protected32", cpl: 3, bitmap: 1 << 4, allowed: false },
  { mode: "protected32", cpl: 3, bitmap: 1 << 5, allowed: true },
  {
    mode: "protected32",
    cpl: 3,
    bitmap: 1 << 7,
    program: IN_EAX,
    allowed: false,
  },
  // The last bits of an access lie in the second byte.
  {
    mode: "protected32",
    cpl: 3,
    port: 6,
    bitmap: 1 << 9,
    program: IN_EAX,
    allowed: false,
  },
  { mode: "protected32", cpl: 3, limit: BITMAP, allowed: false },
  { mode: "protected32", cpl: 3, limit: 0x60, allowed: false },
  { mode: "protected32", cpl: 3, tss: 0x83, allowed: false },
  { mode: "vm86", allowed: true },
  { mode: "vm86", flags: 0x3002, bitmap: 1 << 4, allowed: false },
];

Deno.test("who may use a port", () => {
  for (const c of CASES) {
    const machine = new TestMachine({ bus: { readPort: () => 0 } });
    machine.enter(c.mode, c);
    machine.cpu.setDescriptor(TR, {
      base: BigInt(TSS),
      limit: c.limit ?? BITMAP + 2,
      access: c.tss ?? TSS32,
    });
    machine.poke32(TSS + 0x64, BITMAP << 16);
    machine.poke32(TSS + BITMAP, c.bitmap ?? 0);
    machine.poke(CODE, (c.program ?? IN_AL) + UD2);
    machine.set({ RIP: CODE, RDX: c.port ?? 4 });
    const { vector } = machine.runToException();
    const expected = c.allowed ? VECTOR.UD : VECTOR.GP;
    assertEquals(vector, expected, JSON.stringify(c));
  }
});
