/**
 * A small typed builder for WebAssembly modules: value types as classes,
 * structured control, several memories, memory64, atomics, SIMD, tail calls and
 * exceptions. The virtual CPU is written with it.
 *
 * @module
 */
export * from "./expr.ts";
export * from "./func.ts";
export * from "./host.ts";
export * from "./memory.ts";
export * from "./module.ts";
export { FunctionTable } from "./table.ts";
export { unsignedBytes, Writer } from "./writer.ts";
