// A device's part of the configuration tree (bhyve_config(5)), as device models read it:
// only keys, never command lines.

/** The keys below `pci.B.S.F` or the like. */
export interface ConfigNode {
  /** A value with its variables replaced, or undefined where it is not set. */
  get(key: string): string | undefined;
}

/** A value is not what its key takes. */
export class ConfigValueError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "ConfigValueError";
}

const TRUE = new Set(["true", "on", "yes", "1"]);
const FALSE = new Set(["false", "off", "no", "0"]);

/** A truth value. @throws {ConfigValueError} for words that are none */
export function booleanKey(
  node: ConfigNode,
  key: string,
  absent = false,
): boolean {
  const text = node.get(key);
  if (text === undefined) return absent;
  const word = text.toLowerCase();
  if (TRUE.has(word)) return true;
  if (FALSE.has(word)) return false;
  throw new ConfigValueError(
    `Invalid value ${text} for boolean variable ${key}`,
  );
}

/** A hexadecimal number of up to `bits`. @throws {ConfigValueError} */
export function hexKey(
  node: ConfigNode,
  key: string,
  bits: number,
): number | undefined {
  const text = node.get(key);
  if (text === undefined) return undefined;
  const fits = /^(0x)?[0-9a-f]{1,8}$/i.test(text);
  const value = fits ? parseInt(text, 16) : Infinity;
  if (value < 2 ** bits) return value;
  throw new ConfigValueError(
    `Invalid value ${text} for ${key}: not a hexadecimal number of ${bits} bits`,
  );
}

/** A node of literal values. */
export function literalNode(
  values: Readonly<Record<string, string>>,
): ConfigNode {
  return { get: (key) => Object.hasOwn(values, key) ? values[key] : undefined };
}
