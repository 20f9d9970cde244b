// How bhyvectl(8) writes numbers, sizes and times, and text that others chose.

const BITS_64 = 64;

/** Unsigned hexadecimal with 0x and at least so many digits. */
export function hex(value: bigint, digits: number): string {
  const magnitude = BigInt.asUintN(BITS_64, value);
  return `0x${magnitude.toString(16).padStart(digits, "0")}`;
}

/** As printf's `%#lx`: the shortest hexadecimal, 0 without 0x. */
export function shortHex(value: bigint): string {
  return value === 0n ? "0" : hex(value, 1);
}

/** The ways to write a register's value, by the reference's names. */
export const VALUE_FORMATS = {
  /** 64 bits */
  H16: (value: bigint) => hex(value, 16),
  /** 32 bits */
  H8: (value: bigint) => hex(BigInt.asUintN(32, value), 8),
  /** a selector or another small number */
  H4: (value: bigint) => hex(value, 4),
  /** the shortest */
  H: shortHex,
} as const;

/** The name of a way to write a value. */
export type ValueFormat = keyof typeof VALUE_FORMATS;

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"] as const;
const STEP = 1024;

/** Bytes in the largest unit of which they are a whole number: exact, unlike a rounded one. */
export function humanSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= STEP && value % STEP === 0 && unit < UNITS.length - 1) {
    value /= STEP;
    unit++;
  }
  return `${value}${UNITS[unit]}`;
}

const MS_PER_S = 1000;

/** Seconds since 1970 as `Thu Jan 01 00:00:00 1970`, in UTC. */
export function utcTime(seconds: bigint): string {
  const time = new Date(Number(seconds) * MS_PER_S);
  if (Number.isNaN(time.getTime())) return "UNK";
  // "Thu, 01 Jan 1970 00:00:00 GMT" (ECMA-262, 21.4.4.43)
  const words = time.toUTCString().split(/,? /);
  const [weekday, day, month, year, clock] = words;
  return `${weekday} ${month} ${day} ${clock} ${Number(year)}`;
}
