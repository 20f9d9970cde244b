// The units that instructions execute on, and when one cannot be used (Intel SDM
// vol. 3, 2.5 and table 13-1).

import type { Unit } from "./form.ts";
import { MODE } from "./mode.ts";
import { VECTOR } from "./runtime/traps.ts";

/** The units by number; the first can always be used. */
export const UNITS: readonly Unit[] = [
  "integer",
  "x87",
  "wait",
  "mmx",
  "sse",
  "fxsr",
];

/** The fault that the unit an instruction needs raises in this mode, or 0. */
export function unitFault(unit: Unit, mode: number): number {
  const em = mode & MODE.EM;
  const ts = mode & MODE.TS;
  switch (unit) {
    case "x87":
    case "fxsr":
      return em || ts ? VECTOR.NM : 0;
    case "wait":
      return ts && mode & MODE.MP ? VECTOR.NM : 0;
    case "mmx":
      return em ? VECTOR.UD : ts ? VECTOR.NM : 0;
    case "sse":
      return em || !(mode & MODE.OSFXSR) ? VECTOR.UD : ts ? VECTOR.NM : 0;
    default:
      return 0;
  }
}
