// Block backends: options, files, memory, errors.

import { assertEquals, assertThrows } from "@std/assert";
import { ConfigValueError, literalNode } from "../config_node.ts";
import { type BlockBackend, BlockError } from "./backend.ts";
import { FileBackend } from "./file.ts";
import { MemoryBackend } from "./memory.ts";
import { blockOptions, parseSectorSize } from "./options.ts";
import { generatedSerial } from "./serial.ts";

function withFile(bytes: number, test: (path: string) => void): void {
  const path = Deno.makeTempFileSync();
  try {
    Deno.truncateSync(path, bytes);
    test(path);
  } finally {
    Deno.removeSync(path);
  }
}

function openFile(path: string, keys: Record<string, string> = {}) {
  return new FileBackend(blockOptions(literalNode({ path, ...keys })));
}

const DATA = Uint8Array.from({ length: 1024 }, (_, i) => i);

function roundTrip(disk: BlockBackend): void {
  const shared = new Uint8Array(new SharedArrayBuffer(1024));
  shared.set(DATA);
  disk.write(512, shared);
  shared.fill(0);
  disk.read(512, shared);
  assertEquals([...shared], [...DATA]);
  disk.flush();
  for (const [offset, length] of [[disk.size, 1], [-512, 512], [NaN, 1]]) {
    const part = new Uint8Array(length!);
    assertThrows(() => disk.read(offset!, part), BlockError, "Cannot access");
    assertThrows(() => disk.write(offset!, part), BlockError, "Cannot access");
  }
}

Deno.test("FileBackend reads and writes a file", () => {
  withFile(4096, (path) => {
    const disk = openFile(path);
    assertEquals([disk.size, disk.sectorSize, disk.readOnly], [
      4096,
      512,
      false,
    ]);
    roundTrip(disk);
    disk.close();
    assertEquals(Deno.readFileSync(path).subarray(512, 1536), DATA);
  });
});

Deno.test("FileBackend writes through with direct", () => {
  withFile(4096, (path) => {
    const disk = openFile(path, { direct: "true", nocache: "yes" });
    roundTrip(disk);
    disk.close();
  });
});

Deno.test("FileBackend refuses writes with ro", () => {
  withFile(4096, (path) => {
    const disk = openFile(path, { ro: "true" });
    assertEquals(disk.readOnly, true);
    assertThrows(() => disk.write(0, DATA), BlockError, "read-only");
    assertThrows(() => disk.discard(), BlockError, "not supported");
    disk.flush();
    disk.close();
  });
});

Deno.test("FileBackend has whole sectors of the size that is wanted", () => {
  withFile(10000, (path) => {
    const disk = openFile(path, { sectorsize: "4096/8192" });
    assertEquals(disk.size, 8192);
    assertEquals([disk.sectorSize, disk.physicalSectorSize], [4096, 8192]);
    disk.close();
  });
});

Deno.test("FileBackend tells of a new size", () => {
  withFile(4096, (path) => {
    const disk = openFile(path);
    let calls = 0;
    disk.onResize(() => calls++);
    disk.rescan();
    Deno.truncateSync(path, 8192);
    disk.rescan();
    assertEquals([calls, disk.size], [1, 8192]);
    Deno.truncateSync(path, 512);
    assertThrows(() => disk.read(4096, DATA.slice()), BlockError, "shorter");
    disk.close();
  });
});

Deno.test("FileBackend says why it cannot open", () => {
  assertThrows(() => openFile("/no/such/disk"), BlockError, "No such file");
  assertThrows(() => openFile("/tmp"), BlockError);
  assertThrows(
    () => blockOptions(literalNode({})),
    BlockError,
    'Missing "path" for block device.',
  );
});

Deno.test("MemoryBackend keeps what is written", () => {
  const disk = new MemoryBackend(4096);
  roundTrip(disk);
  disk.discard(512, 512);
  const back = DATA.slice();
  disk.read(512, back);
  assertEquals(back.subarray(0, 512), new Uint8Array(512));
  assertThrows(() => new MemoryBackend(513), BlockError);
  const fixed = new MemoryBackend(512, { readOnly: true });
  assertThrows(() => fixed.write(0, new Uint8Array(512)), BlockError);
  assertThrows(() => fixed.discard(0, 512), BlockError);
});

Deno.test("parseSectorSize takes powers of two in order", () => {
  assertEquals(parseSectorSize("512"), { logical: 512, physical: 512 });
  assertEquals(parseSectorSize("512/4096"), { logical: 512, physical: 4096 });
  for (
    const text of [
      "",
      "511",
      "256",
      "4096/512",
      "512/",
      "512/4096/1",
      "1e3",
      "-512",
    ]
  ) {
    assertThrows(
      () => parseSectorSize(text),
      BlockError,
      "Invalid sector size",
    );
  }
  assertThrows(
    () => blockOptions(literalNode({ path: "a", ro: "maybe" })),
    ConfigValueError,
    "Invalid value maybe for boolean variable ro",
  );
});

Deno.test("generatedSerial is made of the digest of the path", () => {
  assertEquals(generatedSerial("/dev/zvol/a"), "BHYVE-3895-057F-B4FB");
});
