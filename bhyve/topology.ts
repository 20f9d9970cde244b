// Virtual CPUs: `-c` to configuration keys, and the keys to a topology
// (bhyve(8), "-c"; limits as in bhyve's source).

import { wholeNumber } from "../vmm/c_number.ts";
import type { ConfigNode } from "../vmm/config.ts";
import { refuse, STATUS } from "./option_error.ts";

const MOST = 65535;

const KEYS = ["cpus", "sockets", "cores", "threads"] as const;
type Key = (typeof KEYS)[number];

/** A machine's virtual CPUs: `cpus` is the product of the others. */
export type Topology = Readonly<Record<Key, number>>;

/** Reads `[[cpus=]n][,sockets=n][,cores=n][,threads=n]`. @throws {OptionError} */
export function applyTopology(config: ConfigNode, text: string): void {
  if (text === "") {
    for (const key of KEYS) config.set(key, "1");
    return;
  }
  for (const item of text.split(",")) {
    const equals = item.indexOf("=");
    const key = equals < 0 ? "cpus" : item.slice(0, equals);
    if (!KEYS.some((known) => known === key)) {
      throw refuse(STATUS.USAGE, `invalid cpu topology '${text}'`);
    }
    config.set(key, item.slice(equals + 1));
  }
}

function count(config: ConfigNode, key: Key): number | undefined {
  const text = config.get(key);
  if (text === undefined) return undefined;
  const value = wholeNumber(text, { least: 1, most: MOST });
  if (value === undefined) {
    throw refuse(STATUS.ERROR, `Invalid value for ${key}: '${text}'`);
  }
  return value;
}

/** The topology that the configuration asks for. @throws {OptionError} */
export function topologyOf(config: ConfigNode): Topology {
  const cpus = count(config, "cpus");
  const given = [count(config, "sockets"), count(config, "cores")]
    .concat(count(config, "threads"));
  if (cpus !== undefined && given.every((value) => value === undefined)) {
    return { cpus, sockets: cpus, cores: 1, threads: 1 };
  }
  const [sockets = 1, cores = 1, threads = 1] = given;
  const product = sockets * cores * threads;
  if (product > MOST) {
    throw refuse(
      STATUS.ERROR,
      `Computed number of vCPUs too high: ${product}`,
    );
  }
  if (cpus !== undefined && cpus !== product) {
    throw refuse(
      STATUS.ERROR,
      `Topology (${sockets} sockets, ${cores} cores, ${threads} threads) does not match ${cpus} vCPUs`,
    );
  }
  return { cpus: product, sockets, cores, threads };
}

/** Checks that a machine may have so many vCPUs. @throws {OptionError} */
export function requireVcpus(cpus: number, most: number): void {
  if (cpus <= most) return;
  throw refuse(
    STATUS.ERROR,
    `${cpus} vCPUs requested but only ${most} available`,
  );
}
