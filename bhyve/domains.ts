// NUMA domains: `-n` to configuration keys, and the keys to domains (bhyve(8),
// "-n"). What their placement on the host means is for the host's side.

import { wholeNumber } from "../vmm/c_number.ts";
import type { ConfigNode, Warn } from "../vmm/config.ts";
import { parseMemsize } from "../vmm/memsize.ts";
import { refuse, STATUS } from "./option_error.ts";

const LAST_ID = 255;
const MOST_DOMAINS = 8;
const KEYS: readonly string[] = ["size", "cpus", "domain_policy"];

/** Reads `id=N,size=S,cpus=LIST[,domain_policy=P]`. @throws {OptionError} */
export function addDomain(config: ConfigNode, text: string): void {
  // a list of CPUs has commas itself: an item begins at a name and `=`
  const items = text.split(/,(?=\w+=)/).map((item) => {
    const equals = item.indexOf("=");
    return [item.slice(0, equals), item.slice(equals + 1)] as const;
  });
  const given = items.findLast(([key]) => key === "id")?.[1] ?? "";
  const id = wholeNumber(given, { least: 0, most: LAST_ID });
  if (id === undefined) {
    throw refuse(STATUS.USAGE, `invalid NUMA domain configuration '${text}'`);
  }
  const node = config.node(`domains.${id}`);
  for (const [key, value] of items) {
    if (KEYS.includes(key)) node.set(key, value);
  }
}

/** A range of memory with the CPUs close to it. */
export interface MemoryDomain {
  /** bytes */
  readonly size: number;
  /** CPU list, `a,b-c` */
  readonly cpus: string;
  /** how the host allocates it */
  readonly policy?: string;
}

/**
 * The domains of the configuration; none where it has no such node.
 *
 * @param total bytes of memory, split evenly where a domain has no size
 * @throws {OptionError} for ids with gaps, too many, a bad size, or no CPUs
 */
export function memoryDomains(
  config: ConfigNode,
  total: number,
  warn: Warn,
): MemoryDomain[] {
  const nodes = config.find("domains")?.nodes ?? [];
  if (nodes.length > MOST_DOMAINS) {
    throw refuse(
      STATUS.ERROR,
      `Too many NUMA domains: ${nodes.length}, expected at most ${MOST_DOMAINS}`,
    );
  }
  return nodes.map((_, id) => {
    const node = config.find(`domains.${id}`);
    if (node === undefined) {
      throw refuse(
        STATUS.ERROR,
        `NUMA domain ${id} is missing: expected consecutive ids from 0`,
      );
    }
    return domain(node, Math.floor(total / nodes.length), warn);
  });
}

function domain(node: ConfigNode, even: number, warn: Warn): MemoryDomain {
  const cpus = node.get("cpus");
  if (cpus === undefined) {
    throw refuse(STATUS.ERROR, `NUMA domain ${node.name} has no cpus`);
  }
  const policy = node.get("domain_policy");
  const rest = { cpus, ...(policy === undefined ? {} : { policy }) };
  const text = node.get("size");
  if (text === undefined) {
    warn(`NUMA domain ${node.name} has no size: memory is split evenly`);
    return { size: even, ...rest };
  }
  const size = parseMemsize(text);
  if (size === undefined) {
    throw refuse(STATUS.USAGE, `invalid memsize '${text}'`);
  }
  return { size, ...rest };
}
