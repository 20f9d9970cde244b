// Offsets and bits of the type 0 configuration header, and of the capabilities that
// functions here have. PCI 3.0, figures 6-1, 6-2, 6-9; PCI Express 3.0, 7.8.

export const VENDOR = 0x00;
export const DEVICE = 0x02;
export const COMMAND = 0x04;
export const STATUS = 0x06;
export const REVISION = 0x08;
export const HEADER_TYPE = 0x0e;
export const BAR0 = 0x10;
export const BARS_END = 0x28;
export const SUBSYSTEM_VENDOR = 0x2c;
export const SUBSYSTEM = 0x2e;
export const CAPABILITIES = 0x34;
export const INTERRUPT_LINE = 0x3c;
export const INTERRUPT_PIN = 0x3d;
/** where the capability list starts */
export const FIRST_CAPABILITY = 0x40;
export const CONFIG_SIZE = 0x100;

export const COMMAND_IO = 1 << 0;
export const COMMAND_MEMORY = 1 << 1;
export const COMMAND_BUS_MASTER = 1 << 2;
export const COMMAND_INTX_DISABLE = 1 << 10;
/** bits of COMMAND that hold what is written: bhyve's choice */
export const COMMAND_WRITABLE = 0x077f;
export const STATUS_INTERRUPT = 1 << 3;
export const STATUS_CAPABILITIES = 1 << 4;
export const MULTIFUNCTION = 0x80;

export const BAR_IO = 0x1;
export const BAR_64 = 0x4;

export const CAP_MSI = 0x05;
export const CAP_VENDOR = 0x09;
export const CAP_PCIE = 0x10;
export const CAP_MSIX = 0x11;
