// loader.conf: syntax, the order of files, and what they ask to load.

import { assertEquals, assertThrows } from "@std/assert";
import { LoaderError } from "./file.ts";
import {
  parseLoaderConf,
  preloadRequests,
  readLoaderConf,
} from "./loader_conf.ts";

function parse(text: string): Record<string, string> {
  const variables = new Map<string, string>();
  parseLoaderConf(text, "loader.conf", variables);
  return Object.fromEntries(variables);
}

Deno.test("parseLoaderConf() reads names, quotes, escapes and comments", () => {
  const text = [
    "# comment",
    "",
    'a="one two" # why',
    "b=word",
    'c = "a \\"b\\" \\\\"',
    'hint.uart.0.flags="0x10"',
    'd=""',
    "e=",
    "a=again",
    'f="# no comment"',
  ].join("\r\n");
  assertEquals(parse(text), {
    a: "again",
    b: "word",
    c: 'a "b" \\',
    "hint.uart.0.flags": "0x10",
    d: "",
    e: "",
    f: "# no comment",
  });
});

Deno.test("parseLoaderConf() names the line that it cannot read", () => {
  for (const line of ["word", 'a="open', "a=b c", "=x", 'a+="x"y']) {
    assertThrows(
      () => parse(`x=1\n${line}`),
      LoaderError,
      "Cannot read loader.conf line 2",
    );
  }
});

function fileSystem(files: Record<string, string>) {
  return {
    read: (path: string) =>
      files[path] === undefined
        ? undefined
        : new TextEncoder().encode(files[path]),
    list: (path: string) =>
      Object.keys(files).filter((name) => name.startsWith(`${path}/`))
        .map((name) => name.slice(path.length + 1)),
  };
}

Deno.test("readLoaderConf() reads files in order, the last wins", () => {
  const variables = readLoaderConf(fileSystem({
    "/boot/defaults/loader.conf": "a=1\nb=1\nc=1\nd=1\ne=1",
    "/boot/device.hints": "b=2\nhint.x=1",
    "/boot/loader.conf": "c=3\nd=3\ne=3",
    "/boot/loader.conf.local": "d=4\ne=4",
    "/boot/loader.conf.d/z.conf": "e=6",
    "/boot/loader.conf.d/a.conf": "e=5",
    "/boot/loader.conf.d/readme": "not read",
  }));
  assertEquals(
    ["a", "b", "c", "d", "e", "hint.x"].map((name) => variables.get(name)),
    ["1", "2", "3", "4", "6", "1"],
  );
});

Deno.test("readLoaderConf() takes the list of files from the defaults", () => {
  const variables = readLoaderConf(fileSystem({
    "/boot/defaults/loader.conf":
      'loader_conf_files="/etc/x"\nloader_conf_dirs="/etc/d"',
    "/etc/x": "x=1",
    "/etc/d/y.conf": "y=1",
    "/boot/loader.conf": "z=1",
  }));
  assertEquals(
    ["x", "y", "z"].map((name) => variables.has(name)),
    [true, true, false],
  );
});

Deno.test("preloadRequests() lists what is to be loaded", () => {
  const variables = new Map([
    ["zfs_load", "YES"],
    ["no_load", "NO"],
    ["image_load", "yes"],
    ["image_type", "md_image"],
    ["image_name", "/boot/image"],
    ["image_flags", "x"],
  ]);
  assertEquals(preloadRequests(variables), [
    { name: "zfs" },
    { name: "/boot/image", type: "md_image", flags: "x" },
  ]);
});
