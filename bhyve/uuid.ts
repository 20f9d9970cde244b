// The system's UUID: the one that was given, or one derived from the host's name and
// the machine's (bhyve(8), "-U").

import { parseUuid } from "../vmm/firmware/smbios.ts";
import { defaultUuid, uuidText } from "./machine_settings.ts";
import { refuse, STATUS } from "./option_error.ts";

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
  if (given === undefined) return defaultUuid(vmname, hostname());
  try {
    return uuidText(parseUuid(given));
  } catch (error) {
    throw refuse(STATUS.ERROR, (error as Error).message);
  }
}
