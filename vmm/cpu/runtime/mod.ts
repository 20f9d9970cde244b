// The runtime: what handlers call. Each group of functions is a file.

import type { CpuModule } from "../cpu_module.ts";
import { defineSoftFloat } from "../softfloat/mod.ts";
import { defineBits } from "./bits.ts";
import { defineIo } from "./io.ts";
import { defineMemory } from "./memory.ts";
import { defineMisc } from "./misc.ts";
import { defineRun } from "./run.ts";
import { defineSegments } from "./segments.ts";
import { defineSse } from "./sse.ts";
import { defineSseCompare } from "./sse_compare.ts";
import { defineSseCrypto } from "./sse_crypto.ts";
import { defineSseProducts } from "./sse_products.ts";
import { defineSseString } from "./sse_string.ts";
import { defineStrings } from "./string.ts";
import { defineTraps } from "./traps.ts";
import { defineUser } from "./user.ts";
import { defineWalks } from "./walk.ts";
import { defineWideArithmetic } from "./wide.ts";

/** Defines every runtime function. */
export function defineRuntime(cpu: CpuModule): void {
  defineTraps(cpu);
  defineWalks(cpu);
  defineMemory(cpu);
  defineSegments(cpu);
  defineMisc(cpu);
  defineRun(cpu);
  defineWideArithmetic(cpu);
  defineBits(cpu);
  defineStrings(cpu);
  defineIo(cpu);
  defineUser(cpu);
  const soft = defineSoftFloat(cpu.m);
  defineSse(cpu, soft);
  defineSseCompare(cpu, soft);
  defineSseProducts(cpu);
  defineSseString(cpu);
  defineSseCrypto(cpu);
}
