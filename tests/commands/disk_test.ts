// Disks by the real commands: an ext4 root file system on virtio-blk under Debian's
// generic kernel, and what is in the image when bhyve was killed.

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { DISK_UP, ext4Image } from "../guests/disk.ts";
import { linuxGuest } from "../guests/linux.ts";
import { run } from "../guests/run.ts";
import {
  type LinuxMachine,
  loadLinuxMachine,
  startLinuxMachine,
} from "./harness/linux_machine.ts";
import type { Session } from "./harness/session.ts";
import { TestHost } from "./harness/test_host.ts";

const MIB = 2 ** 20;
const SECTOR = 512;
/** Feature bit 32: a driver that knows virtio 1. */
const VERSION_1 = 32;

/** Boots to the shell of the ext4 root file system on the first disk. */
async function bootDisk(
  host: TestHost,
  machine: LinuxMachine,
): Promise<Session> {
  await loadLinuxMachine(host, machine);
  const guest = startLinuxMachine(host, machine);
  await guest.expect(DISK_UP);
  await guest.prompt();
  await guest.command("stty cols 1000");
  return guest;
}

async function rootDisk(host: TestHost): Promise<string> {
  const path = host.path("root.ext4");
  await Deno.copyFile(await ext4Image(), path);
  return path;
}

/** A file's text in an ext4 image, which nobody has open. */
async function fileIn(image: string, path: string): Promise<string> {
  return await run("debugfs", ["-R", `cat ${path}`, image]);
}

async function assertWritesAndReads(guest: Session): Promise<void> {
  const write = "dd if=/dev/urandom of=/data bs=64k count=48 conv=fsync";
  assertStringIncludes(await guest.command(`${write} 2>&1`), "48+0 records");
  const sum = await guest.command("md5sum /data");
  await guest.command("echo 3 >/proc/sys/vm/drop_caches");
  assertEquals(await guest.command("md5sum /data"), sum, "read from the disk");
  await guest.command("mount -o remount,ro / && mount -o remount,rw /");
  assertMatch(
    await guest.command("grep ' / ' /proc/mounts"),
    /^\/dev\/vda \/ ext4 rw/,
  );
  await guest.command("echo kept >/note; rm /data");
}

// The read-only disk of 4096-byte sectors takes no writes, and reads right.
async function assertSecondDisk(guest: Session): Promise<void> {
  const size = "cat /sys/block/vdb/queue/logical_block_size";
  assertEquals(await guest.command(size), "4096\n");
  assertEquals(await guest.command("cat /sys/block/vdb/ro"), "1\n");
  const read = "dd if=/dev/vdb bs=4096 skip=3 count=1 2>/dev/null";
  assertEquals(await guest.command(`${read} | tr -d b | wc -c`), "0\n");
  const write = "dd if=/dev/zero of=/dev/vdb bs=4096 count=1";
  assertMatch(await guest.command(`${write} 2>&1; echo $?`), /\n1\n$/);
}

Deno.test("Debian's generic kernel works on an ext4 root file system", async () => {
  const kernel = "linux-image-amd64";
  await linuxGuest(kernel);
  await using host = await TestHost.create();
  const image = await rootDisk(host);
  await Deno.writeFile(host.path("b"), new Uint8Array(MIB).fill(0x62));
  const guest = await bootDisk(host, {
    name: "disk",
    memory: "512M",
    kernel,
    append: "guest.root=/dev/vda cryptomgr.notests",
    devices: [
      ...["-s", `3,virtio-blk,${image}`, "-s", "5,virtio-rnd"],
      ...["-s", `4,virtio-blk,${host.path("b")},ro,sectorsize=4096`],
    ],
  });
  const features = "cat /sys/block/vda/device/features";
  assertEquals((await guest.command(features))[VERSION_1], "1");
  assertStringIncludes(await guest.command("uname -r"), "-amd64");
  await assertWritesAndReads(guest);
  await assertSecondDisk(guest);
  await guest.type("poweroff");
  await guest.expect("DISK-DOWN");
  await guest.endsWith(1);
  await run("e2fsck", ["-fn", image]);
  assertEquals(await fileIn(image, "/note"), "kept\n");
});

/** Reads numbers of a word from a console until `count` of them came. */
async function numbersOf(
  guest: Session,
  word: string,
  count: number,
): Promise<number[]> {
  const numbers: number[] = [];
  while (numbers.length < count) {
    await guest.expect(`${word} `);
    numbers.push(Number(await guest.expect("\r")));
  }
  return numbers;
}

// Writes without end, and says of each that it is durable. The quotes keep the echo of
// the typed line from being taken for that.
const WRITER = [
  "n=0; while true; do n=$((n+1))",
  "echo block-$n | dd of=/dev/vdb bs=512 seek=$n conv=notrunc,fsync,sync",
  "echo file-$n >/tmp/new; sync /tmp/new; mv /tmp/new /durable-$n; sync",
  'echo IS-"DURABLE" $n; done 2>/dev/null',
].join("; ");

function blockText(disk: Uint8Array, n: number): string {
  const block = disk.subarray(n * SECTOR, (n + 1) * SECTOR);
  return new TextDecoder().decode(block).replace(/\0+$/, "");
}

Deno.test("What a guest was told is durable is there when bhyve was killed", async () => {
  await linuxGuest();
  await using host = await TestHost.create();
  const image = await rootDisk(host);
  const raw = host.path("raw");
  await Deno.writeFile(raw, new Uint8Array(MIB));
  const guest = await bootDisk(host, {
    name: "killed",
    memory: "256M",
    append: "guest.root=/dev/vda",
    devices: [
      ...["-s", `3,virtio-blk,${image}`, "-s", `4,virtio-blk,${raw}`],
    ],
  });
  await guest.type(WRITER);
  const seen = await numbersOf(guest, "IS-DURABLE", 15);
  guest.kill("SIGKILL");
  const { out, signal } = await guest.end();
  assertEquals(signal, "SIGKILL");
  const rest = [...out.matchAll(/IS-DURABLE (\d+)\r/g)];
  const durable = [...seen, ...rest.map(([, n]) => Number(n))];
  assertEquals(durable, durable.map((_, n) => n + 1), "none is skipped");

  const disk = await Deno.readFile(raw);
  // The journal is replayed, as at the guest's next start.
  const { code } = await new Deno.Command("e2fsck", {
    args: ["-p", image],
    env: { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" },
    stdout: "null",
  }).output();
  assert(code <= 1, `e2fsck ended with ${code}`);
  for (const n of durable) {
    assertEquals(blockText(disk, n), `block-${n}\n`);
    assertEquals(await fileIn(image, `/durable-${n}`), `file-${n}\n`);
  }
  await host.ok("bhyvectl", ["--vm=killed", "--destroy"]);
  assertEquals(host.leftovers(), []);
});
