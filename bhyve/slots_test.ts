// PCI slots and LPC devices: places, and every form of every device's conf.

import { assertEquals, assertThrows } from "@std/assert";
import { ConfigNode } from "../vmm/config.ts";
import { addLpcDevice } from "./lpc.ts";
import { OptionError } from "./option_error.ts";
import { addSlot, EMULATIONS, parseSlot } from "./slots.ts";

function keys(text: string): string[] {
  const config = new ConfigNode();
  addSlot(config, `3,${text}`);
  return config.dump().map((line) => line.replace("pci.0.3.0.", ""));
}

Deno.test("parseSlot() reads both forms", () => {
  assertEquals(parseSlot("31"), { bus: 0, slot: 31, func: 0 });
  assertEquals(parseSlot("4:7"), { bus: 0, slot: 4, func: 7 });
  assertEquals(parseSlot("255:1:2"), { bus: 255, slot: 1, func: 2 });
  for (
    const text of ["", "1:", ":1", "1:2:3:4", "-1", "0x1", "1:8", "256:0:0"]
  ) {
    assertEquals(parseSlot(text), undefined, text);
  }
});

const CONFS: Record<string, string[]> = {
  "hostbridge": ["device=hostbridge"],
  "hostbridge,vendor=0x1,x": ["device=hostbridge", "vendor=0x1", "x=true"],
  "amd_hostbridge": [
    "device=hostbridge",
    "pcireg.vendor=0x1022",
    "pcireg.device=0x7432",
  ],
  "lpc": ["device=lpc"],
  "virtio-net,tap0": ["device=virtio-net", "backend=tap0"],
  "virtio-net,tap0,mac=00:a0:98:1:2:3,mtu=9000": [
    "device=virtio-net",
    "backend=tap0",
    "mac=00:a0:98:1:2:3",
    "mtu=9000",
  ],
  "virtio-net,slirp,hostfwd=tcp:127.0.0.1:22-10.0.2.15:22": [
    "device=virtio-net",
    "backend=slirp",
    "hostfwd=tcp:127.0.0.1:22-10.0.2.15:22",
  ],
  "e1000,vmnet3": ["device=e1000", "backend=vmnet3"],
  "virtio-blk,/d.img,ro,sectorsize=512/4096": [
    "device=virtio-blk",
    "path=/d.img",
    "ro=true",
    "sectorsize=512/4096",
  ],
  "virtio-blk": ["device=virtio-blk"],
  "virtio-scsi,/dev/cam/ctl1.1,iid=2": [
    "device=virtio-scsi",
    "dev=/dev/cam/ctl1.1",
    "iid=2",
  ],
  "virtio-scsi,target=/a,target=7:/b,dev=/c,bootindex=1": [
    "device=virtio-scsi",
    "target.0=/a",
    "target.7=/b",
    "target.8=/c",
    "bootindex=1",
  ],
  "virtio-9p,home=/h,ro": [
    "device=virtio-9p",
    "sharename=home",
    "path=/h",
    "ro=true",
  ],
  "virtio-rnd": ["device=virtio-rnd"],
  "virtio-console,a=/1,b=/2": [
    "device=virtio-console",
    "port.0.name=a",
    "port.0.path=/1",
    "port.1.name=b",
    "port.1.path=/2",
  ],
  "virtio-input,path=/dev/input/event0": [
    "device=virtio-input",
    "path=/dev/input/event0",
  ],
  "ahci,hd:/a,ro,cd:/b,ser=x,hd:/c": [
    "device=ahci",
    "port.0.type=hd",
    "port.0.path=/a",
    "port.0.ro=true",
    "port.1.type=cd",
    "port.1.path=/b",
    "port.1.ser=x",
    "port.2.type=hd",
    "port.2.path=/c",
  ],
  "ahci": ["device=ahci"],
  "ahci-hd,/a,nmrr=1": [
    "device=ahci",
    "port.0.type=hd",
    "port.0.path=/a",
    "port.0.nmrr=1",
  ],
  "ahci-cd,/a": ["device=ahci", "port.0.type=cd", "port.0.path=/a"],
  "nvme,/n,maxq=4": ["device=nvme", "path=/n", "maxq=4"],
  "nvme,ram=64,sectsz=512": ["device=nvme", "ram=64", "sectsz=512"],
  "passthru,1/2/3,rom=/r": [
    "device=passthru",
    "bus=1",
    "slot=2",
    "func=3",
    "rom=/r",
  ],
  "passthru,pci1:2:3": ["device=passthru", "bus=1", "slot=2", "func=3"],
  "passthru,pci0:1:2:3": ["device=passthru", "bus=1", "slot=2", "func=3"],
  "passthru,ppt4,bootindex=1": [
    "device=passthru",
    "pptdev=ppt4",
    "bootindex=1",
  ],
  "uart,tcp=[::1]:99": ["device=uart", "path=tcp=[::1]:99"],
  "fbuf,tcp=0.0.0.0:5900,w=800,h=600,wait": [
    "device=fbuf",
    "tcp=0.0.0.0:5900",
    "w=800",
    "h=600",
    "wait=true",
  ],
  "xhci,tablet,tablet": [
    "device=xhci",
    "slot.1.device=tablet",
    "slot.2.device=tablet",
  ],
  "hda,play=/dev/dsp0,rec=/dev/dsp1": [
    "device=hda",
    "play=/dev/dsp0",
    "rec=/dev/dsp1",
  ],
};

Deno.test("Every emulation's conf becomes keys", () => {
  for (const [text, expected] of Object.entries(CONFS)) {
    assertEquals(keys(text).toSorted(), expected.toSorted(), text);
  }
  const tried = new Set(Object.keys(CONFS).map((text) => text.split(",")[0]));
  assertEquals([...EMULATIONS.keys()].filter((name) => !tried.has(name)), []);
});

const FAILURES: Record<string, string> = {
  "virtio-console,a": "vtcon: port a requires a path",
  "virtio-console,a=": "vtcon: port a requires a path",
  [`virtio-console${",a=/b".repeat(17)}`]: "vtcon: too many ports",
  "virtio-9p,x": 'virtio-9p: invalid share "x": expected name=path',
  "virtio-scsi,target=256:/x":
    'virtio-scsi: invalid target "target=256:/x": expected 0 to 255',
  "passthru,x,y": 'passthru: invalid options "x,y"',
  "passthru": 'passthru: invalid options ""',
  [`ahci,hd:/a${",hd:/a".repeat(32)}`]:
    "ahci: too many ports: expected at most 32",
};

Deno.test("Confs that a device cannot have are refused", () => {
  for (const [text, message] of Object.entries(FAILURES)) {
    const error = assertThrows(() => keys(text), OptionError);
    assertEquals([error.status, error.message], [4, message]);
  }
});

const LPC: Record<string, string[]> = {
  "com1,stdio": ["lpc.com1.path=stdio"],
  "COM4,/dev/nmdm0A": ["lpc.com4.path=/dev/nmdm0A"],
  "com2,tcp=localhost:99": ["lpc.com2.path=tcp=localhost:99"],
  "bootrom,/r": ["bootrom=/r"],
  "bootrom,/r,/v": ["bootrom=/r", "bootvars=/v"],
  "tpm,swtpm,/s": ["tpm.type=swtpm", "tpm.path=/s"],
  "tpm,passthru,/dev/tpm0,version=2.0": [
    "tpm.type=passthru",
    "tpm.path=/dev/tpm0",
    "tpm.version=2.0",
  ],
  "pc-testdev": ["lpc.pc-testdev=true"],
};

Deno.test("LPC devices become keys", () => {
  for (const [text, expected] of Object.entries(LPC)) {
    const config = new ConfigNode();
    addLpcDevice(config, text);
    assertEquals(config.dump(), expected, text);
  }
});
