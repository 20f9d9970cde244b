/**
 * bhyve's device models: PCI host, chipset, serial ports, virtio devices and what disks
 * are kept in. A machine gives them buses, memory, time and interrupt inputs.
 *
 * @module
 */

export * from "./block/backend.ts";
export { FileBackend } from "./block/file.ts";
export { MemoryBackend, type MemoryBackendOptions } from "./block/memory.ts";
export * from "./block/options.ts";
export { generatedSerial } from "./block/serial.ts";
export * from "./config_node.ts";
export * from "./lpc/acpi_pm.ts";
export { LpcBridge } from "./lpc/bridge.ts";
export * from "./lpc/chipset.ts";
export * from "./lpc/i8042.ts";
export { US_LAYOUT } from "./lpc/keysyms.ts";
export { Ps2Keyboard } from "./lpc/ps2_keyboard.ts";
export { Ps2Mouse } from "./lpc/ps2_mouse.ts";
export { type ConfigOverlay, ResetPorts } from "./lpc/reset_ports.ts";
export * from "./pci/device.ts";
export { HOST_BRIDGES, HostBridge } from "./pci/host_bridge.ts";
export * from "./pci/host.ts";
export type { InterruptInputs, IntxRoute } from "./pci/intx.ts";
export * from "./pci/pirq.ts";
export * from "./pci/windows.ts";
export * from "./registry.ts";
export * from "./uart/char_backend.ts";
export * from "./uart/com_port.ts";
export { PciUart } from "./uart/pci_uart.ts";
export * from "./virtio/device.ts";
export { VirtqueueError } from "./virtio/errors.ts";
export { VirtioPci, type VirtioPciOptions } from "./virtio/transport.ts";
export { VirtioBlk, type VirtioBlkOptions } from "./virtio/virtio_blk.ts";
export { type RandomSource, VirtioRnd } from "./virtio/virtio_rnd.ts";
