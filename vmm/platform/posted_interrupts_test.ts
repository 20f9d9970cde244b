// What is posted to a local APIC in another thread, and the stand-in that a bus has.

import { assertEquals } from "@std/assert";
import { ApicBus, BROADCAST, DELIVERY, MESSAGE } from "./apic_bus.ts";
import { APIC_MODE } from "./apic_window.ts";
import { LocalApic } from "./local_apic.ts";
import {
  POSTED_WORDS,
  PostedInterrupts,
  RemoteApic,
} from "./posted_interrupts.ts";
import { GuestClock } from "./clock.ts";

function makeWords(): PostedInterrupts {
  return new PostedInterrupts(
    new Int32Array(new SharedArrayBuffer(4 * POSTED_WORDS)),
  );
}

function message(mode: number, vector = 0): number {
  return mode << MESSAGE.MODE_SHIFT | vector;
}

// What a receiver is handed.
function delivered(posted: PostedInterrupts): (number | string)[] {
  const taken: (number | string)[] = [];
  posted.deliver({
    accept: (m) => taken.push(m),
    localInterrupt: (source) => taken.push(`local ${source}`),
  });
  return taken;
}

Deno.test("PostedInterrupts keep vectors with their trigger until they are taken", () => {
  const posted = makeWords();
  assertEquals(posted.isPending, false);
  posted.post(message(DELIVERY.FIXED, 0x31));
  posted.post(message(DELIVERY.LOWEST_PRIORITY, 0xfe) | MESSAGE.LEVEL);
  posted.post(message(DELIVERY.FIXED, 0x31));
  assertEquals(posted.isPending, true);
  assertEquals(delivered(posted), [0x31, 0xfe | MESSAGE.LEVEL]);
  assertEquals(delivered(posted), []);
});

Deno.test("PostedInterrupts hand INIT and STARTUP over in their order", () => {
  const posted = makeWords();
  posted.post(message(DELIVERY.STARTUP, 1));
  posted.post(message(DELIVERY.INIT));
  posted.post(message(DELIVERY.STARTUP, 8));
  posted.post(message(DELIVERY.NMI));
  posted.post(message(DELIVERY.EXTINT));
  posted.postLocal(3);
  posted.postLocal(99);
  assertEquals(delivered(posted), [
    message(DELIVERY.NMI),
    message(DELIVERY.EXTINT),
    "local 3",
    message(DELIVERY.INIT),
    message(DELIVERY.STARTUP, 8),
  ]);
  posted.post(message(DELIVERY.STARTUP, 1));
  posted.post(message(DELIVERY.INIT));
  assertEquals(delivered(posted), [message(DELIVERY.INIT)]);
});

// Two local APICs as their threads have them, each with a stand-in of the other.
function makePair() {
  const words = [makeWords(), makeWords()] as const;
  const kicks: number[] = [];
  const events: string[] = [];
  const clock = new GuestClock(() => 0);
  const apics = words.map((own, id) => {
    const bus = new ApicBus();
    const apic = new LocalApic({
      id,
      clock,
      bus,
      words: own,
      extInt: { isRequesting: false, acknowledge: () => 0 },
      host: {
        attend: () => {},
        nmi: () => events.push(`nmi ${id}`),
        init: () => events.push(`init ${id}`),
        startup: (vector) => events.push(`startup ${id} ${vector}`),
        endOfInterrupt: () => {},
      },
    });
    for (const n of [0, 1]) {
      bus.connect(
        n === id ? apic : new RemoteApic(n, words[n]!, () => kicks.push(n)),
      );
    }
    return { apic, bus };
  });
  const enable = (n: number) => apics[n]!.apic.write(0xf0, 4, 0x1ffn);
  return { words, kicks, events, apics, enable };
}

Deno.test("RemoteApic stands for an APIC by its ID, its logical ID and as everyone", () => {
  const { words, kicks, apics, enable } = makePair();
  enable(0);
  enable(1);
  apics[1]!.apic.write(0xd0, 4, 0x0200_0000n);
  const { bus } = apics[0]!;
  assertEquals(bus.deliver(0x40, 1, -1), true);
  assertEquals(bus.deliver(0x41 | MESSAGE.LOGICAL, 2, -1), true);
  assertEquals(bus.deliver(0x42, BROADCAST, -1), true);
  assertEquals(bus.deliver(0x43 | MESSAGE.LOGICAL, 4, -1), false);
  assertEquals(kicks, [1, 1, 1]);
  const { apic } = apics[1]!;
  words[1].deliver(apic);
  assertEquals(apic.acknowledge(), 0x42);
  apic.write(0xb0, 4, 0n);
  assertEquals(apic.acknowledge(), 0x41);
});

Deno.test("RemoteApic's priority is what its thread published", () => {
  const { apics, enable } = makePair();
  const lowest = message(DELIVERY.LOWEST_PRIORITY, 0x50);
  const { bus } = apics[0]!;
  // Neither is switched on.
  assertEquals(bus.deliver(lowest, BROADCAST, -1), false);
  enable(0);
  enable(1);
  apics[0]!.apic.taskPriority = 8;
  assertEquals(bus.deliver(lowest, BROADCAST, -1), true);
  assertEquals(apics[0]!.apic.pending(), false);
});

Deno.test("INIT and STARTUP through RemoteApic start a processor once", () => {
  const { words, events, apics } = makePair();
  const { bus } = apics[0]!;
  bus.deliver(message(DELIVERY.INIT), 1, 0);
  words[1].deliver(apics[1]!.apic);
  assertEquals(apics[1]!.apic.isWaiting, true);
  bus.deliver(message(DELIVERY.STARTUP, 8), 1, 0);
  words[1].deliver(apics[1]!.apic);
  bus.deliver(message(DELIVERY.STARTUP, 9), 1, 0);
  words[1].deliver(apics[1]!.apic);
  assertEquals(events, ["init 1", "startup 1 8"]);
  assertEquals(apics[1]!.apic.isWaiting, false);
});

Deno.test("RemoteApic follows the mode of its APIC", () => {
  const { words, apics } = makePair();
  const remote = new RemoteApic(1, words[1], () => {});
  const { apic } = apics[1]!;
  assertEquals(apic.setBase(0xfee0_0c00n), true);
  assertEquals(words[1].mode[0], APIC_MODE.X2APIC);
  assertEquals(remote.matches(2, true), true);
  assertEquals(apic.setBase(0xfee0_0000n), true);
  assertEquals(remote.matches(1, false), false);
  assertEquals(remote.priority, 0x100);
});
