// The serial number that bhyve makes up for a disk without one: from the MD5 digest of
// its path (bhyve-options.md section 9.3).

import { md5 } from "../../vmm/md5.ts";

/** `BHYVE-XXXX-XXXX-XXXX` for a path. */
export function generatedSerial(path: string): string {
  const digest = [...md5(path)]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("").toUpperCase();
  const groups = [0, 4, 8].map((at) => digest.slice(at, at + 4));
  return `BHYVE-${groups.join("-")}`;
}
