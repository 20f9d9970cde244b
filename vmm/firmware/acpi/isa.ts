// The LPC bridge in AML: interrupt links LNKA to LNKH on its PIRQ registers
// (ACPI 6.4, section 6.2; Intel ICH10 datasheet, section 13.1), legacy devices.

import { PLATFORM } from "../description.ts";
import * as aml from "./aml.ts";
import {
  fixedMemory,
  irq,
  ports,
  type Resource,
  sharedIrq,
  template,
} from "./resources.ts";

/** Configuration registers PIRQA to PIRQD and PIRQE to PIRQH. */
const PIRQ_BASE = 0x60;
const PIRQ_LENGTH = 0x0c;
/** The register's bit that disconnects its pin. */
const DISABLED = 0x80;
const ENABLED_STATUS = 0x0b;
const DISABLED_STATUS = 0x09;
/** In a descriptor of an interrupt, its mask follows the tag. */
const MASK_OFFSET = 1;
const LINKS = [..."ABCDEFGH"];
const LINK_IRQS = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15];

function routingRegisters(): aml.AmlTerm {
  const register = (letter: string) => ({ name: `PIR${letter}`, bits: 8 });
  return [
    ...aml.pciRegion("LPCR", PIRQ_BASE, PIRQ_LENGTH),
    ...aml.field("LPCR", [
      ...LINKS.slice(0, 4).map(register),
      { bits: 32 },
      ...LINKS.slice(4).map(register),
    ]),
  ];
}

// Whether a register's value connects its pin to an interrupt that can be used:
// not the timer, keyboard and cascade (0 to 2), the clock (8), or the FPU (13).
function validity(): aml.AmlTerm {
  const no = aml.give(aml.integer(0));
  const number = aml.local(0);
  return aml.method(
    "PIRV",
    { args: 1 },
    aml.when(aml.and(aml.argument(0), aml.integer(DISABLED)), no),
    aml.store(aml.and(aml.argument(0), aml.integer(0x0f)), number),
    aml.when(aml.less(number, aml.integer(3)), no),
    aml.when(aml.equal(number, aml.integer(8)), no),
    aml.when(aml.equal(number, aml.integer(13)), no),
    aml.give(aml.integer(1)),
  );
}

function link(letter: string, index: number): aml.AmlTerm {
  const register = aml.path(`PIR${letter}`);
  const isValid = aml.call("PIRV", register);
  const [buffer, mask, wanted] = [`CB0${index + 1}`, `CIR${letter}`]
    .concat(`SIR${letter}`) as [string, string, string];
  const number = aml.and(register, aml.integer(0x0f));
  return aml.device(
    `LNK${letter}`,
    aml.name("_HID", aml.eisaId("PNP0C0F")),
    aml.name("_UID", aml.integer(index + 1)),
    aml.method(
      "_STA",
      {},
      aml.when(
        isValid,
        aml.give(aml.integer(ENABLED_STATUS)),
        aml.give(aml.integer(DISABLED_STATUS)),
      ),
    ),
    aml.name("_PRS", template(sharedIrq(...LINK_IRQS))),
    aml.name(buffer, template(sharedIrq())),
    aml.wordField(aml.path(buffer), MASK_OFFSET, mask),
    aml.method(
      "_CRS",
      {},
      aml.when(
        isValid,
        aml.store(aml.shiftLeft(aml.integer(1), number), aml.path(mask)),
        aml.store(aml.integer(0), aml.path(mask)),
      ),
      aml.give(aml.path(buffer)),
    ),
    aml.method(
      "_DIS",
      {},
      aml.store(aml.integer(DISABLED), register),
    ),
    aml.method(
      "_SRS",
      { args: 1, serialized: true },
      aml.wordField(aml.argument(0), MASK_OFFSET, wanted),
      aml.store(
        aml.subtract(aml.lowestBit(aml.path(wanted)), aml.integer(1)),
        register,
      ),
    ),
  );
}

interface Legacy {
  readonly name: string;
  readonly id: string;
  readonly uid?: number;
  readonly resources: readonly Resource[];
}

const COM_PORTS: readonly (readonly [number, number])[] = [
  [0x3f8, 4],
  [0x2f8, 3],
  [0x3e8, 4],
  [0x2e8, 3],
];

const LEGACY_DEVICES: readonly Legacy[] = [
  {
    name: "SIO",
    id: "PNP0C02",
    resources: [
      ports(0x4d0, 2),
      ports(0x61, 1),
      ports(0x72, 6),
      ports(0x84, 1),
      ports(0x400, 8),
      ports(0xb2, 1),
      fixedMemory(PLATFORM.ECAM, PLATFORM.ECAM_LENGTH),
    ],
  },
  ...COM_PORTS.map(([port, line], n) => ({
    name: `COM${n + 1}`,
    id: "PNP0501",
    uid: n + 1,
    resources: [ports(port, 8), irq(line)],
  })),
  {
    name: "PIC",
    id: "PNP0000",
    resources: [ports(0x20, 2), ports(0xa0, 2), irq(2)],
  },
  { name: "TIMR", id: "PNP0100", resources: [ports(0x40, 4), irq(0)] },
  { name: "RTC", id: "PNP0B00", resources: [ports(0x70, 2), irq(8)] },
  {
    name: "KBD",
    id: "PNP0303",
    resources: [ports(0x60, 1), ports(0x64, 1), irq(1)],
  },
  {
    name: "MOU",
    id: "PNP0F13",
    resources: [ports(0x60, 1), ports(0x64, 1), irq(12)],
  },
];

function legacy({ name, id, uid, resources }: Legacy): aml.AmlTerm {
  return aml.device(
    name,
    aml.name("_HID", aml.eisaId(id)),
    ...(uid === undefined ? [] : [aml.name("_UID", aml.integer(uid))]),
    aml.name("_CRS", template(...resources)),
  );
}

/** The bridge's node on bus 0, with everything below it. */
export function isaBridge(slot: number): aml.AmlTerm {
  return aml.device(
    "ISA",
    aml.name("_ADR", aml.integer(slot * 0x1_0000)),
    routingRegisters(),
    validity(),
    ...LINKS.map(link),
    ...LEGACY_DEVICES.map(legacy),
  );
}
