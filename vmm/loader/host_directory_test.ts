// A host directory cannot be left, and only its files and directories are read.

import { assertEquals, assertThrows } from "@std/assert";
import { writeTree } from "./_disk_images.ts";
import { inTemporary } from "./_testing_disks.ts";
import { LoaderError } from "./file.ts";
import { HostDirectory } from "./host_directory.ts";

const TREE = {
  "boot/kernel/kernel": "kernel",
  "boot/loader.conf": "x=1",
  "inside": { link: "boot/../boot/loader.conf" },
  "kernels": { link: "boot/kernel" },
  "outside": { link: "../secret" },
  "absolute": { link: "/etc/passwd" },
  "root": { link: "/" },
  "loop": { link: "loop" },
  "dangling": { link: "nothing" },
};

function withTree(
  use: (fs: HostDirectory, directory: string) => void,
): Promise<void> {
  return inTemporary((directory) => {
    writeTree(directory, TREE);
    Deno.writeTextFileSync(`${directory}/../secret`, "secret");
    // its name begins like the directory's
    Deno.mkdirSync(`${directory}-beside`);
    Deno.writeTextFileSync(`${directory}-beside/file`, "secret");
    Deno.symlinkSync("../tree-beside/file", `${directory}/beside`);
    use(new HostDirectory(directory, { mostBytes: 1000 }), directory);
  });
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes && new TextDecoder().decode(bytes);
}

Deno.test("Files and directories are read, also over links inside", () =>
  withTree((fs) => {
    assertEquals(text(fs.read("/boot/kernel/kernel")), "kernel");
    assertEquals(text(fs.read("boot//kernel/kernel")), "kernel");
    assertEquals(text(fs.read("/inside")), "x=1");
    assertEquals(text(fs.read("/kernels/kernel")), "kernel");
    assertEquals(fs.list("/boot")?.toSorted(), ["kernel", "loader.conf"]);
    assertEquals(fs.list("/kernels"), ["kernel"]);
  }));

Deno.test("What is not there is undefined", () =>
  withTree((fs) => {
    for (const path of ["/nothing", "/boot", "/dangling", "/inside/x", "/"]) {
      assertEquals(fs.read(path), undefined, path);
    }
    for (const path of ["/nothing", "/inside", "/boot/loader.conf"]) {
      assertEquals(fs.list(path), undefined, path);
    }
  }));

Deno.test("Nothing outside can be reached", () =>
  withTree((fs, directory) => {
    const rows: [string, string][] = [
      ["/../secret", 'it has ".." in it'],
      ["/boot/../../secret", 'it has ".." in it'],
      ["/outside", "a link leads out of the directory given by -h"],
      ["/absolute", "a link leads out"],
      ["/root/etc/passwd", "a link leads out"],
      [`/root${directory}-beside/file`, "a link leads out"],
      ["/beside", "a link leads out"],
    ];
    for (const [path, message] of rows) {
      assertThrows(() => fs.read(path), LoaderError, message);
      assertThrows(() => fs.list(path), LoaderError, message);
    }
    assertThrows(() => fs.read("/loop"), LoaderError, "host0:/loop");
  }));

Deno.test("Pipes do not block, and files too large are refused", () =>
  withTree((fs, directory) => {
    new Deno.Command("mkfifo", { args: [`${directory}/pipe`] }).outputSync();
    assertEquals(Deno.statSync(`${directory}/pipe`).isFifo, true);
    assertEquals(fs.read("/pipe"), undefined);
    Deno.writeFileSync(`${directory}/large`, new Uint8Array(1001));
    assertThrows(
      () => fs.read("/large"),
      LoaderError,
      "host0:/large: it has 1001 bytes, expected at most 1000",
    );
  }));

Deno.test("The directory itself must be there", () => {
  assertThrows(
    () => new HostDirectory("/nothing/here", { mostBytes: 1 }),
    Deno.errors.NotFound,
  );
});
