import { assert, assertEquals } from "@std/assert";
import { Mailbox, REQUEST } from "./mailbox.ts";

Deno.test("Mailbox hands bytes over in order and keeps what has no room", () => {
  const writer = Mailbox.create();
  const reader = new Mailbox(writer.buffer);
  assert(reader.isEmpty);
  assertEquals(writer.send(new Uint8Array(4000).fill(1)), 4000);
  assertEquals(writer.send(new Uint8Array(200).fill(2)), 96);
  assertEquals(reader.peek().length, 4096);
  reader.take(4000);
  assertEquals(writer.send(new Uint8Array([3, 4])), 2);
  assertEquals([...reader.peek()].slice(-3), [2, 3, 4]);
});

Deno.test("Mailbox gives each request once, and a wait that is late returns", () => {
  const mail = Mailbox.create();
  const mark = mail.mark;
  mail.request(REQUEST.POWER_BUTTON);
  mail.wait(mark, 10_000);
  assertEquals(mail.takeRequests(), REQUEST.POWER_BUTTON);
  assertEquals(mail.takeRequests(), 0);
  const start = performance.now();
  mail.wait(mail.mark, 20);
  assert(performance.now() - start >= 15);
});
