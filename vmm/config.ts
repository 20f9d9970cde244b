// bhyve's configuration (bhyve_config(5)): a tree of nodes with values at its
// leaves. Options are translated to keys; devices read only keys.

/** Depth of references in values of other references. */
const MOST_EXPANSIONS = 15;
const TRUE_WORDS: readonly string[] = ["true", "on", "yes", "1"];
const FALSE_WORDS: readonly string[] = ["false", "off", "no", "0"];

/** A configuration that cannot be used; bhyve exits with `status`. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** bhyve's exit status for it */
  readonly status = 4;
}

/** Where warnings about values go. */
export type Warn = (message: string) => void;

/** A node: values and other nodes by name. Paths join names with dots. */
export class ConfigNode {
  readonly #children = new Map<string, ConfigNode | string>();
  readonly #root: ConfigNode;
  readonly #warn: Warn;

  /**
   * @param path names from the root, joined by dots; empty for the root itself
   * @param root where references are looked up; the node itself by default
   */
  constructor(
    readonly path: string = "",
    root?: ConfigNode,
    warn: Warn = () => {},
  ) {
    this.#root = root ?? this;
    this.#warn = warn;
  }

  /** The last name of its path. */
  get name(): string {
    return lastName(this.path);
  }

  /** The nodes below it, in the order in which they were made. */
  get nodes(): ConfigNode[] {
    return [...this.#children.values()].filter((c) => c instanceof ConfigNode);
  }

  /** The names of its values, in the order in which they were first set. */
  get keys(): string[] {
    return [...this.#children].filter(([, c]) => typeof c === "string")
      .map(([name]) => name);
  }

  #pathOf(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }

  #parent(path: string): ConfigNode | undefined {
    const dot = path.lastIndexOf(".");
    return dot < 0 ? this : this.find(path.slice(0, dot));
  }

  /** The node at a relative path, if there is one. */
  find(path: string): ConfigNode | undefined {
    const [name, rest] = cut(path);
    const child = this.#children.get(name);
    if (!(child instanceof ConfigNode)) return undefined;
    return rest === undefined ? child : child.find(rest);
  }

  /**
   * The node at a relative path; it is made where there is none.
   *
   * @throws {ConfigError} where a value has the name of a node on the path
   */
  node(path: string): ConfigNode {
    const [name, rest] = cut(path);
    const at = this.#pathOf(name);
    let child = this.#children.get(name);
    if (child === undefined) {
      child = new ConfigNode(at, this.#root, this.#warn);
      this.#children.set(name, child);
    }
    if (typeof child === "string") {
      throw new ConfigError(
        `Cannot make configuration node ${at}: it has a value already`,
      );
    }
    return rest === undefined ? child : child.node(rest);
  }

  /**
   * Sets a value at a relative path, in place of the one it had.
   *
   * @throws {ConfigError} where a node has this path, or a value one on the way
   */
  set(path: string, value: string | boolean): void {
    const dot = path.lastIndexOf(".");
    const node = dot < 0 ? this : this.node(path.slice(0, dot));
    const name = lastName(path);
    if (node.#children.get(name) instanceof ConfigNode) {
      throw new ConfigError(
        `Cannot set ${node.#pathOf(name)}=${value}: it is a configuration node`,
      );
    }
    node.#children.set(name, String(value));
  }

  /** Removes a value or a node with all below it. */
  delete(path: string): void {
    const parent = this.#parent(path);
    if (parent !== undefined) parent.#children.delete(lastName(path));
  }

  /** A value as it was set, references and all. */
  raw(path: string): string | undefined {
    const parent = this.#parent(path);
    const child = parent && parent.#children.get(lastName(path));
    return typeof child === "string" ? child : undefined;
  }

  /** A value with its references replaced. */
  get(path: string): string | undefined {
    const raw = this.raw(path);
    return raw === undefined ? undefined : this.#expand(raw, 0);
  }

  #expand(value: string, depth: number): string | undefined {
    if (depth > MOST_EXPANSIONS) {
      this.#warn("Too many recursive references in configuration value");
      return undefined;
    }
    // a quoted character, a percent sign, or a reference
    return value.replaceAll(
      /\\([^])|%%|%\(([^)]*)\)/g,
      (whole, quoted?: string, name?: string) =>
        quoted ?? (whole === "%%" ? "%" : this.#lookUp(name ?? "", depth)),
    );
  }

  #lookUp(name: string, depth: number): string {
    const raw = this.#root.raw(name);
    if (raw === undefined) {
      this.#warn(`Invalid reference to unknown variable '${name}'`);
      return "";
    }
    return this.#expand(raw, depth + 1) ?? "";
  }

  /**
   * A value as a truth value.
   *
   * @throws {ConfigError} where it is none of bhyve's words
   */
  getBool(path: string): boolean | undefined;
  getBool(path: string, otherwise: boolean): boolean;
  getBool(path: string, otherwise?: boolean): boolean | undefined {
    const value = this.get(path);
    if (value === undefined) return otherwise;
    const word = value.toLowerCase();
    if (TRUE_WORDS.includes(word)) return true;
    if (FALSE_WORDS.includes(word)) return false;
    throw new ConfigError(
      `Invalid value ${value} for boolean variable ${this.#pathOf(path)}`,
    );
  }

  /** Every value below it as `path=value`, references replaced. */
  dump(): string[] {
    return [...this.#children].flatMap(([name, child]) =>
      typeof child === "string"
        ? [`${this.#pathOf(name)}=${this.get(name) ?? ""}`]
        : child.dump()
    );
  }
}

function lastName(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

function cut(path: string): [string, string | undefined] {
  const dot = path.indexOf(".");
  return dot < 0
    ? [path, undefined]
    : [path.slice(0, dot), path.slice(dot + 1)];
}

/** Splits `key=value`; undefined where one of them is empty. */
export function splitSetting(
  text: string,
): readonly [key: string, value: string] | undefined {
  const equals = text.indexOf("=");
  if (equals <= 0 || equals === text.length - 1) return undefined;
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/**
 * Sets every value that a configuration file names.
 *
 * @param file its name, for messages
 * @throws {ConfigError} at the first line that is not `key=value`
 */
export function applyConfigFile(
  config: ConfigNode,
  text: string,
  file: string,
): void {
  for (const [n, line] of text.split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue;
    const setting = splitSetting(line);
    if (setting === undefined) {
      throw new ConfigError(
        `${file} line ${n + 1}: invalid config option '${line}'`,
      );
    }
    config.set(...setting);
  }
}
