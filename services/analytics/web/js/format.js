// Numbers and times as people read them. British English: 24 hours, day before month, no doubt for anybody.

const LOCALE = "en-GB";
const THIN = "\u202f";
const COUNT = new Intl.NumberFormat(LOCALE);
const COMPACT = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });
const FIGURE = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 4 });
const dateFormats = new Map();

export const NONE = "–";

export function count(value) {
  return value == null ? NONE : COUNT.format(value);
}

export function compact(value) {
  return value == null ? NONE : COMPACT.format(value);
}

/** A measured number, four digits of it. */
export function figure(value) {
  return value == null ? NONE : FIGURE.format(value);
}

/** A share from 0 to 1. */
export function percent(share, digits = 1) {
  return share == null ? NONE : `${(share * 100).toFixed(digits)}${THIN}%`;
}

export function interval(low, high, digits = 1) {
  if (low == null || high == null) return NONE;
  return `${(low * 100).toFixed(digits)}${THIN}–${THIN}${percent(high, digits)}`;
}

/** A difference of shares, in percentage points, with its sign. */
export function points(difference, digits = 1) {
  if (difference == null) return NONE;
  const rounded = (Math.abs(difference) * 100).toFixed(digits);
  if (Number(rounded) === 0) return rounded;
  return `${difference < 0 ? "−" : "+"}${rounded}`;
}

/** How a count changed against another, in percent; null where that says nothing. */
export function change(now, before) {
  if (!before) return null;
  const difference = Math.round(((now - before) / before) * 100);
  return `${difference < 0 ? "−" : difference > 0 ? "+" : "±"}${COUNT.format(Math.abs(difference))}${THIN}%`;
}

/** A date in a time zone, by Intl's own options. */
export function date(at, timeZone, options) {
  const key = `${timeZone} ${JSON.stringify(options)}`;
  let format = dateFormats.get(key);
  if (!format) {
    format = new Intl.DateTimeFormat(LOCALE, { timeZone, ...options });
    dateFormats.set(key, format);
  }
  return format.format(at);
}

export function moment(at, timeZone) {
  return date(at, timeZone, {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
}

export function clock(at, timeZone) {
  return date(at, timeZone, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** How long ago, roughly; a date where it is long. Times are milliseconds. */
export function ago(at, now, timeZone) {
  const seconds = (now - at) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 45 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 22 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  const year = seconds > 300 * 86400 ? { year: "numeric" } : {};
  return date(at, timeZone, {
    weekday: "short",
    day: "numeric",
    month: "short",
    ...year,
    hour: "2-digit",
    minute: "2-digit",
  });
}

/** A span of seconds. */
export function duration(seconds) {
  if (seconds == null) return NONE;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}
