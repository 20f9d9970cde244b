// The runtime: what handlers call. Each group of functions is a file.

import type { CpuModule } from "../cpu_module.ts";
import { defineSoftFloat } from "../softfloat/mod.ts";
import { defineBits } from "./bits.ts";
import { defineBus } from "./bus.ts";
import { defineControl } from "./control.ts";
import { defineDebug } from "./debug.ts";
import { defineDescriptors } from "./descriptors.ts";
import { defineEvents } from "./events.ts";
import { defineFar } from "./far.ts";
import { defineFrames } from "./frames.ts";
import { defineIo } from "./io.ts";
import { defineIret } from "./iret.ts";
import { defineMemory } from "./memory.ts";
import { defineMisc } from "./misc.ts";
import { defineRun } from "./run.ts";
import { defineSegmentLoads } from "./segment_loads.ts";
import { defineSegments } from "./segments.ts";
import { defineSpaces } from "./spaces.ts";
import { defineSse } from "./sse.ts";
import { defineSseCompare } from "./sse_compare.ts";
import { defineSseCrypto } from "./sse_crypto.ts";
import { defineSseProducts } from "./sse_products.ts";
import { defineSseString } from "./sse_string.ts";
import { defineStrings } from "./string.ts";
import { defineSystem } from "./system.ts";
import { defineTasks } from "./tasks.ts";
import { defineTraps } from "./traps.ts";
import { defineUser } from "./user.ts";
import { defineWalks } from "./walk.ts";
import { defineWideArithmetic } from "./wide.ts";
import { defineX87 } from "./x87.ts";
import { defineX87Image } from "./x87_image.ts";

/** Defines every runtime function. */
export function defineRuntime(cpu: CpuModule): void {
  defineTraps(cpu);
  defineWalks(cpu);
  defineMemory(cpu);
  defineSegments(cpu);
  defineBus(cpu);
  defineMisc(cpu);
  defineRun(cpu);
  defineControl(cpu);
  defineSpaces(cpu);
  defineDebug(cpu);
  defineDescriptors(cpu);
  defineEvents(cpu);
  defineFar(cpu);
  defineFrames(cpu);
  defineIret(cpu);
  defineSegmentLoads(cpu);
  defineSystem(cpu);
  defineTasks(cpu);
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
  defineX87(cpu, soft);
  defineX87Image(cpu);
}
