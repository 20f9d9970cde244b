// The one file of the package iced-x86 that is loaded: the decoder's WebAssembly. Its
// JavaScript is a megabyte, mostly enumerations, which takes longer to parse than the
// rest of a processor to load.

const BINARY = "iced_x86_bg.wasm";

// Deno keeps a package at hand, and says where, if the program may import it.
const _mayImport = () => import("iced-x86");

/** Path of the decoder's WebAssembly, which is up to Deno's cache. */
export function decoderPath(): string {
  const { pathname } = new URL(BINARY, import.meta.resolve("iced-x86"));
  return decodeURIComponent(pathname);
}

/**
 * The decoder's WebAssembly.
 *
 * @throws {Error} saying what cannot be read, and what to allow if that is why
 */
export function readDecoder(path = decoderPath()): Uint8Array<ArrayBuffer> {
  try {
    return Deno.readFileSync(path);
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(`Cannot read the instruction decoder: ${message}`, {
      cause,
    });
  }
}
