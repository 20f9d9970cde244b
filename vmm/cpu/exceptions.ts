// An exception while another event is delivered (Intel SDM vol. 3, table 6-5).

import { VECTOR } from "./runtime/traps.ts";

/** An event to deliver. */
export interface Combined {
  /** vector, 0 to 255 */
  readonly vector: number;
  /** error code, or `NO_ERROR_CODE` */
  readonly error: number;
  /** kind of `EVENT_KIND` */
  readonly kind: number;
}

const EXCEPTION_KIND = 3;
const CONTRIBUTORY: readonly number[] = [
  VECTOR.DE,
  VECTOR.TS,
  VECTOR.NP,
  VECTOR.SS,
  VECTOR.GP,
];

/**
 * What follows where delivering `first` raised `second`: the event to deliver
 * next, or undefined for a shutdown.
 */
export function combineExceptions(
  first: Combined,
  second: Combined,
): Combined | undefined {
  if (first.kind !== EXCEPTION_KIND) return second;
  if (first.vector === VECTOR.DF) return undefined;
  const isContributory = CONTRIBUTORY.includes(second.vector);
  const isPageFault = second.vector === VECTOR.PF;
  const isDouble = CONTRIBUTORY.includes(first.vector)
    ? isContributory
    : first.vector === VECTOR.PF && (isContributory || isPageFault);
  if (!isDouble) return second;
  return { vector: VECTOR.DF, error: 0, kind: EXCEPTION_KIND };
}
