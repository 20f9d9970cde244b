// Keys of this bhyve's own: a kernel that it loads itself, into a machine that it makes
// where there is none, as with a boot ROM. `loader.kernel=FILE`, `loader.initrd=FILE`,
// `loader.append=LINE`, set by `-o` or in a `-k` file.

import type { ConfigNode } from "../vmm/config.ts";
import { refuse, STATUS } from "./option_error.ts";

/** The keys, for the usage. */
export const LOADER_KEYS:
  readonly (readonly [setting: string, help: string])[] = [
    ["loader.kernel=file", "kernel to load, without bhyveload"],
    ["loader.initrd=file", "its initial RAM disk or module"],
    ["loader.append=line", "its command line"],
  ];

/** A kernel to load. */
export interface LoaderKeys {
  /** path of the kernel */
  readonly kernel: string;
  /** path of the initial RAM disk */
  readonly initrd?: string;
  /** the kernel's command line */
  readonly append?: string;
}

/**
 * The kernel that a configuration names; undefined where it names none.
 *
 * @throws {OptionError} where something is to be loaded together with no kernel
 */
export function loaderKeys(config: ConfigNode): LoaderKeys | undefined {
  const [kernel, initrd, append] = ["kernel", "initrd", "append"]
    .map((key) => config.get(`loader.${key}`));
  const other = ["initrd", "append"].find((key) =>
    config.raw(`loader.${key}`) !== undefined
  );
  if (kernel === undefined) {
    if (other === undefined) return undefined;
    throw refuse(STATUS.ERROR, `loader.${other} is set without loader.kernel`);
  }
  return {
    kernel,
    ...initrd === undefined ? {} : { initrd },
    ...append === undefined ? {} : { append },
  };
}

/** The files that are read. */
export function loaderFiles(keys: LoaderKeys | undefined): string[] {
  const files = [keys?.kernel, keys?.initrd];
  return files.filter((file) => file !== undefined);
}
