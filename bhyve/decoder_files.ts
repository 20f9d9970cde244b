// The file that the instruction decoder's package reads when it is imported: a thread
// with narrow permissions needs it too. Where it is is up to Deno's cache.

const BINARY = "iced_x86_bg.wasm";

// Deno says where a package is if the program may import it, which threads do.
const _mayImport = () => import("iced-x86");

/** Paths of the decoder's files. */
export function decoderFiles(): string[] {
  const binary = new URL(BINARY, import.meta.resolve("iced-x86"));
  return [decodeURIComponent(binary.pathname)];
}
