// The system's UUID: the one that was given, or one derived from the host's name and
// the machine's (bhyve(8), "-U").

import { derivedUuid, parseUuid } from "../vmm/firmware/smbios.ts";
import { refuse, STATUS } from "./option_error.ts";

const GROUPS: readonly (readonly number[])[] = [
  [3, 2, 1, 0],
  [5, 4],
  [7, 6],
  [8, 9],
  [10, 11, 12, 13, 14, 15],
];

/** A UUID as text, from its bytes in an SMBIOS table. */
export function uuidText(bytes: Uint8Array): string {
  return GROUPS.map((group) =>
    group.map((n) => bytes[n]!.toString(16).padStart(2, "0")).join("")
  ).join("-");
}

/**
 * A machine's UUID as text.
 *
 * @param given what the configuration says
 * @throws {OptionError} where that is none
 */
export function machineUuid(
  given: string | undefined,
  vmname: string,
  hostname: () => string,
): string {
  if (given === undefined) return uuidText(derivedUuid(vmname, hostname()));
  try {
    return uuidText(parseUuid(given));
  } catch (error) {
    throw refuse(STATUS.ERROR, (error as Error).message);
  }
}
