// The files that the instruction decoder's package reads when it is imported: a thread
// with narrow permissions needs them too. Where they are is up to Deno's cache, and only
// the loaded module itself knows.

import Module from "node:module";
import "iced-x86";

const DECODER = /[\\/]iced_x86\.js$/;
const BINARY = "iced_x86_bg.wasm";

/** Paths of the decoder's files. */
export function decoderFiles(): string[] {
  const { _cache: loaded } = Module as unknown as {
    readonly _cache: Readonly<Record<string, unknown>>;
  };
  return Object.keys(loaded).filter((path) => DECODER.test(path))
    .map((path) => path.replace(/[^\\/]*$/, BINARY));
}
