// Host objects that TypeScript's library does not declare yet: exception tags
// and memories with 64-bit addresses.

import type { ValType } from "./expr.ts";

/** An exception tag that several modules may import. */
export type HostTag = object & { readonly __tag: never };

interface TagConstructor {
  new (type: { parameters: readonly ValType[] }): HostTag;
}

/** Creates an exception tag whose exceptions carry `parameters`. */
export function createTag(parameters: readonly ValType[]): HostTag {
  const { Tag } = WebAssembly as unknown as { Tag: TagConstructor };
  return new Tag({ parameters });
}

/**
 * Creates a shared memory with 64-bit addresses.
 *
 * @param initial its size in pages of 64 KiB
 * @param maximum the size it may grow to, in pages
 */
export function createMemory64(
  initial: number,
  maximum: number,
): WebAssembly.Memory {
  return new WebAssembly.Memory({
    address: "i64",
    initial: BigInt(initial),
    maximum: BigInt(maximum),
    shared: true,
  } as unknown as WebAssembly.MemoryDescriptor);
}
