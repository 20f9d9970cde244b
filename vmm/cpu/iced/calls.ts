// The decoder's own functions, and how values come out of them: objects are addresses
// in its memory, and what is more than a number is left there.

import { readDecoder } from "./file.ts";

/** An object of the decoder's: its address. */
export type Pointer = number;

type Ask<T = number> = (object: Pointer) => T;

/** What we call of the WebAssembly's exports. */
interface Calls {
  readonly memory: WebAssembly.Memory;
  readonly __wbindgen_malloc: (size: number, align: number) => Pointer;
  readonly __wbindgen_free: (at: Pointer, size: number, align: number) => void;

  readonly decoder_new: (
    result: Pointer,
    bitness: number,
    bytes: Pointer,
    length: number,
    options: number,
  ) => void;
  readonly decoder_set_position: (
    result: Pointer,
    decoder: Pointer,
    position: number,
  ) => void;
  readonly decoder_set_ip: (decoder: Pointer, ip: bigint) => void;
  readonly decoder_lastError: Ask;
  readonly decoder_decodeOut: (decoder: Pointer, instruction: Pointer) => void;
  readonly decoder_getConstantOffsets: (
    decoder: Pointer,
    instruction: Pointer,
  ) => Pointer;

  readonly __wbg_constantoffsets_free: (offsets: Pointer) => void;
  readonly constantoffsets_hasImmediate: Ask;
  readonly constantoffsets_hasImmediate2: Ask;
  readonly constantoffsets_immediateOffset: Ask;
  readonly constantoffsets_immediateSize: Ask;
  readonly constantoffsets_immediateSize2: Ask;

  readonly instruction_new: () => Pointer;
  readonly instruction_set_code: (object: Pointer, code: number) => void;
  readonly instruction_cpuidFeatures: (result: Pointer, of: Pointer) => void;
  readonly instruction_code: Ask;
  readonly instruction_mnemonic: Ask;
  readonly instruction_length: Ask;
  readonly instruction_isInvalid: Ask;
  readonly instruction_hasLockPrefix: Ask;
  readonly instruction_hasRepePrefix: Ask;
  readonly instruction_hasRepnePrefix: Ask;
  readonly instruction_opCount: Ask;
  readonly instruction_op0Kind: Ask;
  readonly instruction_op1Kind: Ask;
  readonly instruction_op2Kind: Ask;
  readonly instruction_op3Kind: Ask;
  readonly instruction_op4Kind: Ask;
  readonly instruction_op0Register: Ask;
  readonly instruction_op1Register: Ask;
  readonly instruction_op2Register: Ask;
  readonly instruction_op3Register: Ask;
  readonly instruction_op4Register: Ask;
  readonly instruction_memorySegment: Ask;
  readonly instruction_memoryBase: Ask;
  readonly instruction_memoryIndex: Ask;
  readonly instruction_memoryIndexScale: Ask;
  readonly instruction_memoryDisplSize: Ask;
  readonly instruction_memoryDisplacement: Ask<bigint>;
  readonly instruction_memorySize: Ask;
  readonly instruction_nearBranch16: Ask;
  readonly instruction_nearBranch32: Ask;
  readonly instruction_nearBranch64: Ask<bigint>;
  readonly instruction_farBranch16: Ask;
  readonly instruction_farBranch32: Ask;
  readonly instruction_farBranchSelector: Ask;
  readonly instruction_immediate8: Ask;
  readonly instruction_immediate8_2nd: Ask;
  readonly instruction_immediate16: Ask;
  readonly instruction_immediate32: Ask;
  readonly instruction_immediate64: Ask<bigint>;

  readonly memorysizeext_size: (memorySize: number) => number;
}

// What it may ask of its surroundings is for what we do not use, or to tell that it
// was misused: then it gives a text.
function fail(at: Pointer, length: number): never {
  const text = new Uint8Array(calls.memory.buffer, at >>> 0, length >>> 0);
  throw new Error(`instruction decoder: ${new TextDecoder().decode(text)}`);
}

function instantiate(): Calls {
  const module = new WebAssembly.Module(readDecoder());
  const imports: Record<string, Record<string, typeof fail>> = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = fail;
  }
  const { exports } = new WebAssembly.Instance(module, imports);
  return exports as unknown as Calls;
}

/** The decoder's functions. */
export const calls: Calls = instantiate();

/** Where a function puts results that are more than a number. */
export const RESULT: Pointer = calls.__wbindgen_malloc(16, 4);

let bytes = new Uint8Array(calls.memory.buffer);
let words = new Int32Array(calls.memory.buffer);

// Growing takes the memory away from views of it.
function renew(): void {
  if (bytes.length > 0) return;
  bytes = new Uint8Array(calls.memory.buffer);
  words = new Int32Array(calls.memory.buffer);
}

/** Takes memory for bytes. */
export function allocate(size: number): Pointer {
  return calls.__wbindgen_malloc(size, 1) >>> 0;
}

/** Puts bytes into the memory. */
export function place(from: Uint8Array, at: Pointer): void {
  renew();
  bytes.set(from, at);
}

/** A word of the memory. */
export function word(at: Pointer): number {
  renew();
  return words[at >>> 2]!;
}

/** Takes an array of words, of which we are the owner. */
export function take(at: Pointer, length: number): Int32Array {
  renew();
  const array = words.slice(at >>> 2, (at >>> 2) + length);
  calls.__wbindgen_free(at, 4 * length, 4);
  return array;
}
