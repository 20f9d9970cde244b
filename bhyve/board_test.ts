// The words that all threads of a machine share.

import { assertEquals, assertThrows } from "@std/assert";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import { VmmError } from "../vmm/errno.ts";
import { Board, MACHINE_FLAG } from "./board.ts";

function makeBoard(vcpus = 4) {
  const kicks: number[] = [];
  const board = new Board(Board.create(vcpus), (vcpu) => kicks.push(vcpu));
  return { board, kicks };
}

Deno.test("Board.suspend() takes the first reason and calls every vCPU", () => {
  const { board, kicks } = makeBoard(3);
  board.suspend(SUSPEND.RESET);
  assertThrows(() => board.suspend(SUSPEND.POWEROFF), VmmError, "progress");
  assertEquals(board.how, SUSPEND.RESET);
  assertEquals(kicks, [0, 1, 2]);
});

Deno.test("Board is stopped when every active vCPU is, or is held", () => {
  const { board } = makeBoard(3);
  assertEquals(board.active, [0, 1, 2]);
  board.suspendCpu(1);
  board.markSuspended(0);
  assertEquals(board.isStopped, false);
  board.markSuspended(2);
  assertEquals(board.isStopped, true);
  assertEquals([board.suspended, board.debug], [[0, 2], [1]]);
});

Deno.test("Board.suspendCpu() and resumeCpu() refuse what cannot be", () => {
  const { board } = makeBoard(2);
  assertThrows(() => board.suspendCpu(2), VmmError, "Invalid argument");
  assertThrows(() => board.resumeCpu(1), VmmError, "Invalid argument");
  assertThrows(() => board.activate(1), VmmError, "Device busy");
  board.activate(2);
  board.suspendCpu(2);
  board.resumeCpu(2);
  assertEquals(board.debug, []);
});

Deno.test("vCPUs are paused until the machine goes, and while they are held", () => {
  const { board } = makeBoard(2);
  assertEquals(board.isPaused(0), true);
  board.set(MACHINE_FLAG.GO, true);
  assertEquals(board.isPaused(0), false);
  board.suspendCpu(0);
  assertEquals([board.isPaused(0), board.isPaused(1)], [true, false]);
});

Deno.test("Board is halted when every vCPU that was started is", () => {
  const { board } = makeBoard(3);
  board.markHalted(0, true);
  assertEquals(board.isHalted, true);
  board.markStarted(2, true);
  assertEquals(board.isHalted, false);
  board.markHalted(2, true);
  assertEquals(board.isHalted, true);
  board.markHalted(0, false);
  assertEquals(board.isHalted, false);
});

Deno.test("Board keeps ends of interrupts until they are taken", () => {
  const { board } = makeBoard();
  for (const vector of [0x10, 0x31, 0xff, 0x31]) board.postEnd(vector);
  const ends: number[] = [];
  board.takeEnds((vector) => ends.push(vector));
  board.takeEnds((vector) => ends.push(vector));
  assertEquals(ends.sort((a, b) => a - b), [0x10, 0x31, 0xff]);
});

Deno.test("Board.addWriter() calls the devices' thread only when nobody did", () => {
  const { board, kicks } = makeBoard();
  board.addWriter(1);
  board.addWriter(2);
  assertEquals(kicks, [0]);
  assertEquals(board.takeWriters(), 6);
  assertEquals(board.takeWriters(), 0);
});

Deno.test("parts of vCPUs in Board do not overlap", () => {
  const { board } = makeBoard(16);
  const parts = Array.from({ length: 16 }, (_, n) => [
    board.gateWords(n),
    board.callWords(n),
    board.postedWords(n),
    board.writeWords(n),
  ]).flat();
  parts.forEach((words, n) => words.fill(n + 1));
  parts.forEach((words, n) => {
    assertEquals(words.every((word) => word === n + 1), true);
  });
  assertEquals(board.how, SUSPEND.NONE);
});
