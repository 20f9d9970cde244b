// Error numbers of FreeBSD (errno(2)), as vmm(4) and libvmmapi give them, with the
// texts of strerror(3).

/** Error numbers by name. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOTTY: 25,
  ENOSPC: 28,
  ERANGE: 34,
  EALREADY: 37,
  EOPNOTSUPP: 45,
  ENAMETOOLONG: 63,
} as const;

/** The name of an error number. */
export type ErrnoName = keyof typeof ERRNO;

const TEXTS: Readonly<Record<ErrnoName, string>> = {
  EPERM: "Operation not permitted",
  ENOENT: "No such file or directory",
  EIO: "Input/output error",
  ENXIO: "Device not configured",
  EBADF: "Bad file descriptor",
  ENOMEM: "Cannot allocate memory",
  EACCES: "Permission denied",
  EFAULT: "Bad address",
  EBUSY: "Device busy",
  EEXIST: "File exists",
  ENODEV: "Operation not supported by device",
  ENOTDIR: "Not a directory",
  EISDIR: "Is a directory",
  EINVAL: "Invalid argument",
  ENOTTY: "Inappropriate ioctl for device",
  ENOSPC: "No space left on device",
  ERANGE: "Result too large",
  EALREADY: "Operation already in progress",
  EOPNOTSUPP: "Operation not supported",
  ENAMETOOLONG: "File name too long",
};

/** What strerror(3) says of an error. */
export function errnoText(code: ErrnoName): string {
  return TEXTS[code];
}

/** A request of vmm(4) that failed. */
export class VmmError extends Error {
  /** the class, for messages */
  override readonly name = "VmmError";
  /** its number in FreeBSD's errno(2) */
  readonly errno: number;

  /**
   * Makes one.
   *
   * @param code its name, such as `EINVAL`
   * @param detail what was wrong with what; the text of the number by default
   */
  constructor(readonly code: ErrnoName, detail: string = TEXTS[code]) {
    super(detail);
    this.errno = ERRNO[code];
  }
}
