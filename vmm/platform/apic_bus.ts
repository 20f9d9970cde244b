// The bus between local APICs, I/O APICs and message-signalled interrupts: finds out
// whom a message is for (Intel SDM vol. 3, 11.6.2 and 11.12.10). A message is a word
// with the layout of the low half of ICR, and a destination of 32 bits.

/** Delivery modes: bits 10:8 of a message. */
export const DELIVERY = {
  FIXED: 0,
  LOWEST_PRIORITY: 1,
  SMI: 2,
  NMI: 4,
  INIT: 5,
  STARTUP: 6,
  EXTINT: 7,
} as const;

/** Bits of a message. */
export const MESSAGE = {
  VECTOR: 0xff,
  MODE_SHIFT: 8,
  /** the destination is a set of logical IDs */
  LOGICAL: 0x800,
  /** 0 with LEVEL: INIT level de-assert */
  ASSERT: 0x4000,
  /** level-triggered: its EOI is broadcast */
  LEVEL: 0x8000,
  SHORTHAND_SHIFT: 18,
} as const;

/** Whom a message is for whatever its destination says: bits 19:18. */
export const SHORTHAND = {
  NONE: 0,
  SELF: 1,
  ALL: 2,
  OTHERS: 3,
} as const;

/** Everyone, whether physical or logical. 8-bit senders say FFh for it. */
export const BROADCAST = 0xffff_ffff;

/** A local APIC as others see it: in this thread, or a stand-in for one elsewhere. */
export interface ApicTarget {
  /** its APIC ID */
  readonly id: number;
  /** the priority of what it does; above 255 where it takes no interrupts at all */
  readonly priority: number;
  /** Whether a destination that is no broadcast includes it. */
  matches(destination: number, isLogical: boolean): boolean;
  /** Takes a message. */
  accept(message: number): void;
  /** Raises a local interrupt by its index in `LOCAL_INTERRUPTS`. */
  localInterrupt?(source: number): void;
}

/** Where a local APIC sends its messages. */
export interface MessageBus {
  /**
   * Delivers a message.
   *
   * @param message layout of ICR's low half
   * @param destination 32 bits; 8-bit senders widen FFh to `BROADCAST`
   * @param sender APIC ID that shorthands refer to; -1: not a local APIC
   * @returns whether any APIC took it
   */
  deliver(message: number, destination: number, sender: number): boolean;
}

/** Widens a destination of 8 bits, where all ones mean everyone. */
export function widenDestination(destination: number): number {
  return destination === 0xff ? BROADCAST : destination;
}

/** Whether a logical destination includes an APIC in x2APIC mode. */
export function matchesWide(ldr: number, destination: number): boolean {
  return ldr >>> 16 === destination >>> 16 &&
    (ldr & destination & 0xffff) !== 0;
}

/** Whether a logical destination includes an APIC in xAPIC mode, flat or cluster. */
export function matchesLogical(
  ldr: number,
  dfr: number,
  destination: number,
): boolean {
  const own = ldr >>> 24;
  if (destination > 0xff) return false;
  if (dfr >>> 28 === 15) return (own & destination) !== 0;
  return own >>> 4 === destination >>> 4 && (own & destination & 15) !== 0;
}

/** Knows every local APIC. Delivering allocates nothing. */
export class ApicBus implements MessageBus {
  readonly #targets: ApicTarget[] = [];
  // Ties of lowest priority are broken in turn, so that no APIC takes them all.
  #turn = 0;

  /** Connects a local APIC. */
  connect(target: ApicTarget): void {
    this.#targets.push(target);
  }

  deliver(message: number, destination: number, sender: number): boolean {
    const mode = message >>> MESSAGE.MODE_SHIFT & 7;
    if (mode === DELIVERY.LOWEST_PRIORITY) {
      return this.#deliverLowest(message, destination, sender);
    }
    let isTaken = false;
    for (let n = 0; n < this.#targets.length; n++) {
      const target = this.#targets[n]!;
      if (!this.#isMeant(target, message, destination, sender)) continue;
      target.accept(message);
      isTaken = true;
    }
    return isTaken;
  }

  #deliverLowest(message: number, destination: number, sender: number) {
    const count = this.#targets.length;
    let best: ApicTarget | undefined;
    let lowest = 0x100;
    for (let n = 1; n <= count; n++) {
      const at = (this.#turn + n) % count;
      const target = this.#targets[at]!;
      if (!this.#isMeant(target, message, destination, sender)) continue;
      if (target.priority >= lowest) continue;
      best = target;
      lowest = target.priority;
    }
    if (best === undefined) return false;
    this.#turn = this.#targets.indexOf(best);
    best.accept(message);
    return true;
  }

  #isMeant(
    target: ApicTarget,
    message: number,
    destination: number,
    sender: number,
  ): boolean {
    const shorthand = message >>> MESSAGE.SHORTHAND_SHIFT & 3;
    switch (sender < 0 ? SHORTHAND.NONE : shorthand) {
      case SHORTHAND.SELF:
        return target.id === sender;
      case SHORTHAND.ALL:
        return true;
      case SHORTHAND.OTHERS:
        return target.id !== sender;
      default:
        return destination === BROADCAST ||
          target.matches(destination, (message & MESSAGE.LOGICAL) !== 0);
    }
  }

  /** Whose turn it is, for a snapshot. */
  get turn(): number {
    return this.#turn;
  }
  set turn(turn: number) {
    this.#turn = turn;
  }
}
