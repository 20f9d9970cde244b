// What the runtime's functions do that a region must know of, with registers and
// flags in locals. What is not listed reads or writes registers in memory 0, or
// changes the mode: instructions that call it are left to threaded code.

import type { RuntimeName } from "../runtime/signatures.ts";
import { X87_NUMBER_SIGNATURES } from "../runtime/x87_numbers.ts";

/**
 * `pure`: neither faults nor leaves; `faults`: may fault, and does nothing else that is
 * seen; `reads`: may fault or leave for a device; `writes`: may write guest memory, too,
 * itself or by a device, and so drop code; `privilege`: changes which TLB array is used.
 */
export type Effect = "pure" | "faults" | "reads" | "writes" | "privilege";

const EFFECTS: Readonly<Record<Effect, readonly RuntimeName[]>> = {
  pure: [
    ...["productExceeds", "lockBus", "unlockBus"] as const,
    ...["carriesBelow", "carriesOfSum", "carriesOfDifference"] as const,
    ...["depositBits", "extractBits", "crc8", "crc16"] as const,
    ...["crc32", "crc64", "timeStamp", "randomBits"] as const,
    ...["aesSubstitute", "aesInverseSubstitute"] as const,
    ...["carrylessMultiply", "sseUnary", "stringCompare"] as const,
    ...["sseF32IsSum", "sseF64IsSum", "sseF32IsProduct"] as const,
    ...["sseF64IsProduct", "stringLength", "x87Status"] as const,
    ...["pauseExit", "x87Note", "refill"] as const,
    ...Object.keys(X87_NUMBER_SIGNATURES) as RuntimeName[],
  ],
  faults: [
    ...["raise", "pageFault", "badAddress", "segmentLinear"] as const,
    ...["checkAlignment", "divide", "divideSigned"] as const,
  ],
  reads: [
    "leave",
    ...["loadSlow", "loadSystem", "prepareRead", "loadLocked"] as const,
    ...["clearVirtualInterrupts", "setVirtualInterrupts"] as const,
    ...["virtualFlags", "popSystemFlags", "readControl"] as const,
    ...["scanRun", "compareRun", "checkPort"] as const,
    ...["sseExceptions", "sseF32Binary", "sseF64Binary"] as const,
    ...["sseF32Round", "sseF64Round", "sseF32Compare"] as const,
    ...["sseF64Compare", "sseOrder", "sseDot", "sseApproximate"] as const,
    ...["x87Binary", "x87BinaryMemory", "x87Unary", "x87Pair"] as const,
    ...["x87Reduce", "x87Split", "x87Compare", "x87CompareFlags"] as const,
    ...["x87CompareMemory", "x87Test", "x87Examine"] as const,
    ...["x87Pending", "x87Signal"] as const,
    ...["x87Turn", "x87Init", "x87Clear", "x87SetControl"] as const,
    ...["x87Load", "x87LoadRegister", "x87LoadConstant"] as const,
    ...["x87Store", "x87Stored", "x87StoreRegister"] as const,
    ...["x87StoreQuiet", "x87Exchange", "x87Move", "x87Free"] as const,
  ],
  writes: [
    ...["storeSlow", "storeSystem", "prepareWrite"] as const,
    ...["prepareLocked", "storeLocked", "copyRun", "fillRun"] as const,
    ...["portIn", "portOut"] as const,
  ],
  privilege: ["updatePrivilege", "updateMode"],
};

const BY_NAME: ReadonlyMap<string, Effect> = new Map(
  Object.entries(EFFECTS).flatMap(([effect, names]) =>
    names.map((name) => [name, effect as Effect] as const)
  ),
);

/** The effect of a runtime function; undefined: not for regions. */
export function effectOf(name: string): Effect | undefined {
  return BY_NAME.get(name);
}
