/**
 * What V8 is told wherever a machine runs; `deno.json` has the same. Its first code of
 * a function would count its calls, at every entry; and where much is compiled, young
 * heaps would grow by 50 MiB that save no time.
 */
export const V8_FLAGS = "--v8-flags=--no-wasm-inlining,--max-semi-space-size=8";
