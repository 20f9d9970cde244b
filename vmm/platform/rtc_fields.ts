// The time of day in the registers of an MC146818 (data sheet, "Time, calendar and
// alarm locations"): binary or BCD, 24 hours or 12 with PM in bit 7, and the century
// that ACPI's FADT points to.

/** Register numbers. */
export const RTC = {
  SECONDS: 0x00,
  ALARM_SECONDS: 0x01,
  MINUTES: 0x02,
  ALARM_MINUTES: 0x03,
  HOURS: 0x04,
  ALARM_HOURS: 0x05,
  WEEKDAY: 0x06,
  DAY: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  CENTURY: 0x32,
} as const;

/** Bits of register B. */
export const RTC_B = {
  SET: 0x80,
  PERIODIC: 0x40,
  ALARM: 0x20,
  UPDATE: 0x10,
  BINARY: 0x04,
  HOURS_24: 0x02,
} as const;

const PM = 0x80;
/** An alarm register with both upper bits set matches everything. */
const ANY = 0xc0;
const DAY_SECONDS = 86_400;

/** The registers that hold the time of day. */
export const TIME_REGISTERS: readonly number[] = [
  RTC.SECONDS,
  RTC.MINUTES,
  RTC.HOURS,
  RTC.WEEKDAY,
  RTC.DAY,
  RTC.MONTH,
  RTC.YEAR,
  RTC.CENTURY,
];

function encode(value: number, format: number): number {
  if ((format & RTC_B.BINARY) !== 0) return value;
  return Math.floor(value / 10) << 4 | value % 10;
}

function decode(value: number, format: number): number {
  if ((format & RTC_B.BINARY) !== 0) return value;
  return (value >> 4) * 10 + (value & 15);
}

function encodeHours(hours: number, format: number): number {
  if ((format & RTC_B.HOURS_24) !== 0) return encode(hours, format);
  const isPm = hours >= 12;
  return encode(hours % 12 || 12, format) | (isPm ? PM : 0);
}

function decodeHours(value: number, format: number): number {
  if ((format & RTC_B.HOURS_24) !== 0) return decode(value, format);
  const hours = decode(value & ~PM, format) % 12;
  return (value & PM) !== 0 ? hours + 12 : hours;
}

/**
 * Puts a time into the registers.
 *
 * @param registers the chip's memory
 * @param seconds since 1970, in the zone that the guest sees
 * @param format register B
 */
export function putTime(
  registers: Uint8Array,
  seconds: number,
  format: number,
): void {
  const date = new Date(Math.floor(seconds) * 1000);
  const year = date.getUTCFullYear();
  const put = (register: number, value: number) =>
    registers[register] = encode(value, format);
  put(RTC.SECONDS, date.getUTCSeconds());
  put(RTC.MINUTES, date.getUTCMinutes());
  registers[RTC.HOURS] = encodeHours(date.getUTCHours(), format);
  put(RTC.WEEKDAY, date.getUTCDay() + 1);
  put(RTC.DAY, date.getUTCDate());
  put(RTC.MONTH, date.getUTCMonth() + 1);
  put(RTC.YEAR, year % 100);
  put(RTC.CENTURY, Math.floor(year / 100) % 100);
}

/**
 * The time that registers hold. One that does not exist, such as February 30, is as
 * many days later; the day of the week says nothing.
 */
export function getTime(registers: Uint8Array, format: number): number {
  const get = (register: number) => decode(registers[register]!, format);
  const date = new Date(0);
  date.setUTCFullYear(
    get(RTC.CENTURY) * 100 + get(RTC.YEAR),
    get(RTC.MONTH) - 1,
    get(RTC.DAY),
  );
  date.setUTCHours(
    decodeHours(registers[RTC.HOURS]!, format),
    get(RTC.MINUTES),
    get(RTC.SECONDS),
  );
  return date.getTime() / 1000;
}

function matches(wanted: number, value: number): boolean {
  return wanted < 0 || wanted === value;
}

function firstMatch(wanted: number, from: number, count: number): number {
  for (let n = from; n < count; n++) if (matches(wanted, n)) return n;
  return -1;
}

/**
 * The first second after another at which the alarm goes off; Infinity where its
 * registers hold what is no time.
 */
export function nextAlarm(
  registers: Uint8Array,
  format: number,
  after: number,
): number {
  const wanted = (register: number, read: typeof decode) => {
    const value = registers[register]!;
    return value >= ANY ? -1 : read(value, format);
  };
  const hour = wanted(RTC.ALARM_HOURS, decodeHours);
  const minute = wanted(RTC.ALARM_MINUTES, decode);
  const second = wanted(RTC.ALARM_SECONDS, decode);
  if (hour > 23 || minute > 59 || second > 59) return Infinity;
  const from = Math.floor(after) + 1;
  const midnight = Math.floor(from / DAY_SECONDS) * DAY_SECONDS;
  const today = matchInDay(hour, minute, second, from - midnight);
  if (today >= 0) return midnight + today;
  return midnight + DAY_SECONDS + matchInDay(hour, minute, second, 0);
}

// The first matching second of a day from one on, or -1.
function matchInDay(
  hour: number,
  minute: number,
  second: number,
  from: number,
): number {
  const startHour = Math.floor(from / 3600);
  for (let h = startHour; h < 24; h++) {
    if (!matches(hour, h)) continue;
    const startMinute = h === startHour ? Math.floor(from / 60) % 60 : 0;
    for (let m = startMinute; m < 60; m++) {
      if (!matches(minute, m)) continue;
      const isFirst = h === startHour && m === startMinute;
      const s = firstMatch(second, isFirst ? from % 60 : 0, 60);
      if (s >= 0) return h * 3600 + m * 60 + s;
    }
  }
  return -1;
}
