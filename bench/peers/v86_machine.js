// A machine of v86's, its first serial port on standard output; ends when the guest says
// that it does. In Node and Deno alike: see `v86.ts` for the settings in its argument.

import { readFileSync, writeSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const { V86 } = await import(pathToFileURL(settings.library).href);
const module = await WebAssembly.compile(readFileSync(settings.code));

/** A file as v86 wants it. @param {string} path */
function file(path) {
  return { buffer: new Uint8Array(readFileSync(path)).buffer };
}

const machine = new V86({
  wasm_fn: async (imports) =>
    (await WebAssembly.instantiate(module, imports)).exports,
  memory_size: settings.memory,
  vga_memory_size: 8 << 20,
  bios: file(settings.bios),
  vga_bios: file(settings.vgaBios),
  bzimage: file(settings.kernel),
  initrd: file(settings.initrd),
  cmdline: settings.append,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  autostart: true,
});

let line = "";
machine.add_listener("serial0-output-byte", (byte) => {
  line += String.fromCharCode(byte);
  if (byte !== 10) return;
  writeSync(1, line);
  if (line.startsWith("GUEST-DOWN")) process.exit(0);
  line = "";
});
