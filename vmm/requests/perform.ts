// How a table of requests is used: one handler a request, its target given.

import { CpuError } from "../cpu/exits.ts";
import { VmmError } from "../errno.ts";
import type { VmIn, VmOut, VmRequest } from "../ioctl.ts";

/** What each request does with a target. */
export type Handlers<T> = {
  readonly [R in VmRequest]?: (target: T, payload: VmIn<R>) => VmOut<R>;
};

/**
 * Does a request on a target; a `RangeError` or `CpuError` of it is EINVAL.
 *
 * @throws {VmmError} ENOTTY for a request that the table has not
 */
export function perform<T, R extends VmRequest>(
  handlers: Handlers<T>,
  target: T,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  const handler = handlers[request];
  if (handler === undefined) throw new VmmError("ENOTTY");
  try {
    return handler(target, payload);
  } catch (error) {
    if (error instanceof CpuError || error instanceof RangeError) {
      throw new VmmError("EINVAL", error.message);
    }
    throw error;
  }
}

/** Refuses an argument. @throws {VmmError} EINVAL */
export function invalid(isInvalid: boolean): void {
  if (isInvalid) throw new VmmError("EINVAL");
}
