// The files that a loader may read, by absolute path: a host directory, or what is
// on a disk, as whoever gives it sees fit.

/** A read-only file system. */
export interface LoaderFileSystem {
  /** A file's content, undefined where there is no such file. */
  read(path: string): Uint8Array | undefined;
  /** The names in a directory, undefined where there is no such directory. */
  list(path: string): string[] | undefined;
}
