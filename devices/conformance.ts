// What every device must stand, as one suite that a device's test runs by naming its
// constructor: resetting, saving and restoring, and hostile accesses at every offset
// and width of everything that it answers for (design.md section 7).

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { BusHandler } from "../vmm/bus.ts";
import type { Lifecycle } from "../vmm/device.ts";

/** A device and the ranges that it answers for. */
export interface Subject {
  /** what is tested */
  readonly device: Lifecycle;
  /** ranges by name */
  readonly ranges: readonly {
    readonly name: string;
    readonly length: number;
    readonly handler: BusHandler;
  }[];
}

const WIDTHS = [1, 2, 4, 8];
const VALUES = [
  0n,
  1n,
  0x80n,
  0xffn,
  0x7fff_ffffn,
  0xffff_ffff_ffff_ffffn,
];
// Large ranges are sampled: their registers are near the start.
const MOST_OFFSETS = 512;

function checkedRead(handler: BusHandler, offset: number, bytes: number) {
  const value = handler.read(offset, bytes);
  const whole = typeof value === "bigint" || Number.isInteger(value);
  assert(
    whole && value >= 0 && BigInt(value) < 1n << BigInt(8 * bytes),
    `read of ${bytes} at ${offset} gave ${value}`,
  );
}

function everyAccess(
  subject: Subject,
  act: (handler: BusHandler, offset: number, bytes: number) => void,
): void {
  for (const { length, handler } of subject.ranges) {
    for (let offset = 0; offset < Math.min(length, MOST_OFFSETS); offset++) {
      for (const bytes of WIDTHS) {
        if (offset + bytes <= length) act(handler, offset, bytes);
      }
    }
  }
}

function disturb(subject: Subject): void {
  let seed = 12345;
  everyAccess(subject, (handler, offset, bytes) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    handler.write(offset, bytes, BigInt(seed) % (1n << BigInt(8 * bytes)));
  });
}

/**
 * Runs the suite over a device.
 *
 * @param name what the tests are called by
 * @param make makes a new device in its state after power-on
 */
export function conformance(name: string, make: () => Subject): void {
  Deno.test(`${name} resets into its state after power-on`, () => {
    const subject = make();
    const fresh = subject.device.save();
    disturb(subject);
    subject.device.reset();
    assertEquals(subject.device.save(), fresh);
    subject.device.reset();
    assertEquals(subject.device.save(), fresh);
  });

  Deno.test(`${name} restores what it saved`, () => {
    const subject = make();
    disturb(subject);
    const saved = subject.device.save();
    assertEquals(JSON.parse(JSON.stringify(saved)), saved);
    const other = make();
    other.device.restore(saved);
    assertEquals(other.device.save(), saved);
    disturb(subject);
    assertEquals(other.device.save(), saved);
  });

  Deno.test(`${name} refuses the state of another device`, () => {
    const { device } = make();
    const saved = device.save();
    assertThrows(() => device.restore({ ...saved, kind: "no such kind" }));
    assertThrows(() => device.restore({ ...saved, version: 9999 }));
    assertThrows(() =>
      device.restore({ ...saved, ...{ unknown: 1 } } as typeof saved)
    );
    assertEquals(device.save(), saved);
  });

  Deno.test(`${name} stands hostile accesses`, () => {
    const subject = make();
    everyAccess(subject, checkedRead);
    for (const value of VALUES) {
      everyAccess(subject, (handler, offset, bytes) => {
        handler.write(offset, bytes, value % (1n << BigInt(8 * bytes)));
        checkedRead(handler, offset, bytes);
      });
    }
    subject.device.reset();
    everyAccess(subject, checkedRead);
  });
}
