// Rings and words between threads, each side in turn.

import { assertEquals } from "@std/assert";
import { GuestClock, HpetCounter } from "../vmm/platform/mod.ts";
import { ANSWER, CALL, CALL_WORDS, DeviceCallWords } from "./device_calls.ts";
import { LocalTimers } from "./local_timers.ts";
import {
  POSTED_WRITE_WORDS,
  PostedWrites,
  SPACE_MEMORY,
  SPACE_PORTS,
} from "./posted_writes.ts";
import { RequestMail } from "./request_mail.ts";

function shared(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * words));
}

Deno.test("DeviceCallWords carry a call and its answer", () => {
  const words = shared(CALL_WORDS);
  const caller = new DeviceCallWords(words);
  const answerer = new DeviceCallWords(words);
  const call = {
    kind: CALL.WRITE_MEMORY,
    address: 0x12_3456_789a,
    bytes: 8,
    value: 0xffff_ffff_ffff_fffen,
  };
  caller.begin(call);
  assertEquals(caller.status, ANSWER.NONE);
  assertEquals(answerer.call, call);
  answerer.answer(0x8000_0000_0000_0001n);
  assertEquals([caller.status, caller.value], [
    ANSWER.DONE,
    0x8000_0000_0000_0001n,
  ]);
  caller.begin(call);
  answerer.answer(undefined);
  assertEquals(caller.status, ANSWER.UNCLAIMED);
});

Deno.test("PostedWrites are done in their order, and refused where there is no room", () => {
  const words = shared(POSTED_WRITE_WORDS);
  const writer = new PostedWrites(words);
  const taker = new PostedWrites(words);
  const done: unknown[] = [];
  const take = () => taker.take((...write) => done.push(write));
  for (let round = 0; round < 5; round++) {
    let posted = 0;
    while (writer.post(SPACE_PORTS, 0x3f8, 1, BigInt(posted))) posted++;
    assertEquals(posted, 32);
    take();
    assertEquals(done.length, 32);
    done.forEach((write, n) =>
      assertEquals(write, [SPACE_PORTS, 0x3f8, 1, BigInt(n)])
    );
    done.length = 0;
  }
  writer.post(SPACE_MEMORY, 0xfee0_0000, 8, 2n ** 64n - 1n);
  take();
  assertEquals(done, [[SPACE_MEMORY, 0xfee0_0000, 8, 2n ** 64n - 1n]]);
});

Deno.test("RequestMail keeps requests in their order, with 64-bit numbers", () => {
  const buffer = RequestMail.create();
  const sender = new RequestMail(buffer);
  const taker = new RequestMail(buffer);
  const request = (id: number) => ({
    id,
    request: "VM_SET_REGISTER" as const,
    payload: { cpuid: 1, regnum: 0, regval: 2n ** 64n - 1n },
  });
  assertEquals(taker.take(), undefined);
  for (let round = 0; round < 3; round++) {
    let sent = 0;
    while (sender.send(request(sent))) sent++;
    assertEquals(taker.isPending, true);
    for (let id = 0; id < sent; id++) assertEquals(taker.take(), request(id));
    assertEquals(taker.isPending, false);
  }
});

Deno.test("LocalTimers read what the timers' own thread would", () => {
  let now = 1e9;
  const clock = new GuestClock(() => now, 0);
  const times = {
    hpet: new Float64Array(new SharedArrayBuffer(24)),
    pmTimer: new Float64Array(new SharedArrayBuffer(8)),
  };
  times.pmTimer[0] = 0.5e9;
  const counter = new HpetCounter(clock, times.hpet);
  const timers = new LocalTimers(clock, times);
  assertEquals(timers.readMemory(0xfed0_00f0, 4), 0n);
  counter.enable(true);
  now = 2e9;
  assertEquals(timers.readMemory(0xfed0_00f0, 8), 2n ** 24n);
  assertEquals(timers.readPort(0x408, 4), Math.floor(3_579_545 * 1.5));
  assertEquals(timers.readPort(0x408, 2), undefined);
  assertEquals(timers.readMemory(0xfed0_0000, 4), undefined);
});
