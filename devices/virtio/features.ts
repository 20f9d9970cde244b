// Feature bits that belong to the rings and the transport, not to a device type
// (virtio 1.2, 6 and 6.3 for the legacy interface).

/** Legacy: interrupt when the available ring runs empty, even if suppressed. */
export const NOTIFY_ON_EMPTY = 1n << 24n;
/** Legacy: the device makes no assumptions about descriptor boundaries. */
export const ANY_LAYOUT = 1n << 27n;
/** A descriptor may point to a table of descriptors. */
export const INDIRECT_DESC = 1n << 28n;
/** Notifications are suppressed by ring positions. */
export const EVENT_IDX = 1n << 29n;
/** The driver follows the specification since 1.0. */
export const VERSION_1 = 1n << 32n;

/** What is offered through the legacy registers besides the device's own bits. */
export const LEGACY_FEATURES = NOTIFY_ON_EMPTY | ANY_LAYOUT | INDIRECT_DESC |
  EVENT_IDX;
/** What is offered through the modern registers besides the device's own bits. */
export const MODERN_FEATURES = INDIRECT_DESC | EVENT_IDX | VERSION_1;
