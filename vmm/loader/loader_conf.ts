// loader.conf(5): settings for FreeBSD's loader and environment of its kernel. Lines
// of `name="value"`, as the Lua loader reads them; no Lua code, no includes.

import { LoaderError } from "./file.ts";
import type { LoaderFileSystem } from "./file_system.ts";

/** Variables by name. */
export type LoaderVariables = Map<string, string>;

const LINE =
  /^\s*([^\s=#"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"#]*))\s*(?:#.*)?$/;

/**
 * Adds a file's settings to variables; later ones replace earlier ones.
 *
 * @param name of the file, for messages
 * @throws {LoaderError} at the first line that is neither setting nor comment
 */
export function parseLoaderConf(
  text: string,
  name: string,
  variables: LoaderVariables,
): void {
  for (const [n, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#.*)?$/.test(line)) continue;
    const match = LINE.exec(line);
    if (match === null) {
      throw new LoaderError(
        `Cannot read ${name} line ${
          n + 1
        }: expected name="value", not: ${line}`,
      );
    }
    const quoted = match[2]?.replaceAll(/\\(.)/g, "$1");
    variables.set(match[1]!, quoted ?? match[3] ?? "");
  }
}

const DEFAULTS = "/boot/defaults/loader.conf";
const DEFAULT_FILES =
  "/boot/device.hints /boot/loader.conf /boot/loader.conf.local";
const DEFAULT_DIRECTORIES = "/boot/loader.conf.d";

function readInto(
  fs: LoaderFileSystem,
  path: string,
  variables: LoaderVariables,
): void {
  const bytes = fs.read(path);
  if (bytes === undefined) return;
  parseLoaderConf(new TextDecoder().decode(bytes), path, variables);
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/**
 * Every setting of a system: the defaults, the files that `loader_conf_files`
 * names, and the `*.conf` files of `loader_conf_dirs`.
 *
 * @throws {LoaderError} at a bad line
 */
export function readLoaderConf(fs: LoaderFileSystem): LoaderVariables {
  const variables: LoaderVariables = new Map();
  readInto(fs, DEFAULTS, variables);
  const files = variables.get("loader_conf_files") ?? DEFAULT_FILES;
  for (const path of words(files)) readInto(fs, path, variables);
  const directories = variables.get("loader_conf_dirs") ?? DEFAULT_DIRECTORIES;
  for (const directory of words(directories)) {
    const names = fs.list(directory) ?? [];
    for (const name of names.filter((n) => n.endsWith(".conf")).toSorted()) {
      readInto(fs, `${directory}/${name}`, variables);
    }
  }
  return variables;
}

/** A file that the settings ask to load besides the kernel. */
export interface PreloadRequest {
  /** file or module name */
  readonly name: string;
  /** the type of the record; undefined for a kernel module */
  readonly type?: string;
  /** its arguments */
  readonly flags?: string;
}

/** The files that settings `NAME_load="YES"` ask for, in their order. */
export function preloadRequests(variables: LoaderVariables): PreloadRequest[] {
  return [...variables].flatMap(([key, value]) => {
    if (!key.endsWith("_load") || value.toUpperCase() !== "YES") return [];
    const stem = key.slice(0, -"_load".length);
    const type = variables.get(`${stem}_type`);
    const flags = variables.get(`${stem}_flags`);
    return [{
      name: variables.get(`${stem}_name`) ?? stem,
      ...(type === undefined || type === "" ? {} : { type }),
      ...(flags === undefined || flags === "" ? {} : { flags }),
    }];
  });
}
