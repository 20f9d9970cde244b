// Offsets and bits of the type 0 configuration header, and of the capabilities that
// functions here have. PCI 3.0, figures 6-1, 6-2, 6-9; PCI Express 3.0, 7.8.

/** Vendor ID. */
export const VENDOR = 0x00;
/** Device ID. */
export const DEVICE = 0x02;
/** Command register. */
export const COMMAND = 0x04;
/** Status register. */
export const STATUS = 0x06;
/** Revision; the class code follows it. */
export const REVISION = 0x08;
/** Header type. */
export const HEADER_TYPE = 0x0e;
/** First base address register. */
export const BAR0 = 0x10;
/** Behind the last base address register. */
export const BARS_END = 0x28;
/** Subsystem vendor ID. */
export const SUBSYSTEM_VENDOR = 0x2c;
/** Subsystem ID. */
export const SUBSYSTEM = 0x2e;
/** Pointer to the first capability. */
export const CAPABILITIES = 0x34;
/** Interrupt line: memory for firmware. */
export const INTERRUPT_LINE = 0x3c;
/** Interrupt pin: 0 for none. */
export const INTERRUPT_PIN = 0x3d;
/** where the capability list starts */
export const FIRST_CAPABILITY = 0x40;
/** Bytes of configuration space. */
export const CONFIG_SIZE = 0x100;

/** I/O BARs are decoded. */
export const COMMAND_IO = 1 << 0;
/** Memory BARs are decoded. */
export const COMMAND_MEMORY = 1 << 1;
/** The function may access memory. */
export const COMMAND_BUS_MASTER = 1 << 2;
/** The interrupt pin is off. */
export const COMMAND_INTX_DISABLE = 1 << 10;
/** bits of COMMAND that hold what is written: bhyve's choice */
export const COMMAND_WRITABLE = 0x077f;
/** The function wants its interrupt pin up. */
export const STATUS_INTERRUPT = 1 << 3;
/** There is a capability list. */
export const STATUS_CAPABILITIES = 1 << 4;
/** Bit of the header type: the slot has more functions. */
export const MULTIFUNCTION = 0x80;

/** Type bits of an I/O BAR. */
export const BAR_IO = 0x1;
/** Type bits of a 64-bit memory BAR. */
export const BAR_64 = 0x4;

/** Capability ID of MSI. */
export const CAP_MSI = 0x05;
/** Capability ID of vendors. */
export const CAP_VENDOR = 0x09;
/** Capability ID of PCI Express. */
export const CAP_PCIE = 0x10;
/** Capability ID of MSI-X. */
export const CAP_MSIX = 0x11;
