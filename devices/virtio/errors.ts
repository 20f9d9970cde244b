// What a driver can do wrong to a virtqueue. The transport catches it, says it once
// and stops the device until the driver resets it (virtio 1.2, 2.1.2).

/** A ring or a descriptor is not what the specification allows. */
export class VirtqueueError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "VirtqueueError";
}
