// What firmware tables say about a machine, as plain data: the input of every
// builder in this folder. The platform's fixed addresses are here too.

/** A range of addresses. A length of 0 stands for none. */
export interface Window {
  /** first address */
  readonly start: number;
  /** addresses in it */
  readonly length: number;
}

/** Where a function's INTx pin is connected. */
export interface IntxRoute {
  /** device number, 0 to 31 */
  readonly slot: number;
  /** 0 to 3 for INTA# to INTD# */
  readonly pin: number;
  /** link device, 0 to 7 for LNKA to LNKH */
  readonly pirq: number;
  /** I/O APIC input, the global system interrupt */
  readonly gsi: number;
}

/** A PCI bus that has devices, and what its bridge hands on. */
export interface PciBus {
  /** bus number */
  readonly number: number;
  /** ports of its BARs */
  readonly io: Window;
  /** memory of its BARs below 4 GiB */
  readonly memory32: Window;
  /** memory of its BARs above RAM */
  readonly memory64: Window;
  /** every INTx pin in use */
  readonly interrupts: readonly IntxRoute[];
}

/** A machine, as its firmware tables describe it. */
export interface MachineDescription {
  /** virtual CPUs; their APIC IDs are 0, 1, ... */
  readonly vcpus: number;
  /** bytes of RAM from 0 */
  readonly lowmem: number;
  /** bytes of RAM from 4 GiB */
  readonly highmem: number;
  /** the buses that have devices; bus 0 is described even if it is not here */
  readonly buses: readonly PciBus[];
  /** device number on bus 0 of the bridge to the legacy devices, if there is one */
  readonly lpcSlot?: number;
  /** guest-physical address of the VM generation identifier, if there is one */
  readonly generation?: number;
  /** whether the fw_cfg device is at ports 0x510 and 0x511 */
  readonly fwcfg?: boolean;
  /** the TPM's event log, where the machine has a TPM with a CRB interface */
  readonly tpmLog?: Window;
}

/** Fixed places of the platform, and of the tables in memory. */
export const PLATFORM = {
  MPTABLE: 0xf_0000,
  SMBIOS: 0xf_1000,
  ACPI: 0xf_2400,
  TABLES_END: 0x10_0000,
  ECAM: 0xe000_0000,
  ECAM_LENGTH: 0x1000_0000,
  IOAPIC: 0xfec0_0000,
  HPET: 0xfed0_0000,
  HPET_LENGTH: 0x400,
  TPM: 0xfed4_0000,
  TPM_LENGTH: 0x1000,
  LAPIC: 0xfee0_0000,
  HIGHMEM: 0x1_0000_0000,
  SCI: 9,
} as const;
