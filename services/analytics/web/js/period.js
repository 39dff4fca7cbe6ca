// From what the URL says to instants and buckets, and where a bucket ends.

import { date } from "./format.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

export const RANGES = {
  "24h": { span: DAY, name: "24 hours" },
  "7d": { span: 7 * DAY, name: "7 days" },
  "28d": { span: 28 * DAY, name: "28 days" },
  "91d": { span: 91 * DAY, name: "91 days" },
};

const STEPS = { minute: 60_000, hour: HOUR, day: DAY, week: 7 * DAY };
const MOST_BUCKETS = 1500;

/**
 * The period of a state: {from, to} in milliseconds, its interval, and what the period before is called.
 * A relative one ends now and is compared with as much time before it, to the second: nothing is compared with
 * a day that is not over yet.
 */
export function period(state, now) {
  const fixed = state.from != null && state.to != null;
  const to = fixed ? state.to : now;
  const from = fixed ? state.from : now - RANGES[state.range].span;
  const span = to - from;
  const chosen = state.interval && span / STEPS[state.interval] <= MOST_BUCKETS ? state.interval : "";
  const before = fixed ? "as much time before" : `the ${RANGES[state.range].name} before`;
  return { from, to, before, interval: chosen || fitting(span) };
}

function fitting(span) {
  if (span <= 3 * HOUR) return "minute";
  if (span <= 4 * DAY) return "hour";
  if (span <= 130 * DAY) return "day";
  return "week";
}

/** Series with where each bucket starts, ends and has its middle, and whether the period cuts it. */
export function buckets(series, interval, { from, to }) {
  const starts = series.map((bucket) => Date.parse(bucket.time));
  return starts.map((start, index) => {
    const end = starts[index + 1] ?? start + STEPS[interval];
    return { start, end, middle: (start + end) / 2, partial: start < from || end > to };
  });
}

const STRIDES = {
  minute: [1, 5, 10, 15, 30, 60],
  hour: [1, 2, 3, 6, 12, 24, 48, 168],
  day: [1, 2, 3, 7, 14, 28, 56],
  week: [1, 2, 4, 8, 13, 26],
};

/** Which buckets get a label on an axis, so that at most `most` do: round hours, Mondays, else counted from the end. */
export function labelled(list, interval, timeZone, most) {
  const stride =
    STRIDES[interval].find((candidate) => Math.floor(list.length / candidate) <= most) ?? Math.ceil(list.length / most);
  return list.filter((bucket, index) => {
    if (interval === "minute") return minuteOfDay(bucket.start, timeZone) % stride === 0;
    if (interval === "hour" && stride <= 24) return (minuteOfDay(bucket.start, timeZone) / 60) % stride === 0;
    if (interval === "day" && stride === 7) return date(bucket.start, timeZone, { weekday: "short" }) === "Mon";
    // Half a stride from the end, where there is room for the last one.
    return (list.length - 1 - index) % stride === Math.floor(stride / 2);
  });
}

/** A bucket's short name for an axis. */
export function axisLabel(start, interval, timeZone) {
  const withinDay = interval === "minute" || interval === "hour";
  if (withinDay && minuteOfDay(start, timeZone) !== 0)
    return date(start, timeZone, { hour: "2-digit", minute: "2-digit" });
  return date(start, timeZone, { day: "numeric", month: "short" });
}

/** A bucket's full name. */
export function bucketName(start, interval, timeZone) {
  const day = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
  if (interval === "week")
    return `Week of ${date(start, timeZone, { day: "numeric", month: "short", year: "numeric" })}`;
  if (interval === "day") return date(start, timeZone, day);
  return date(start, timeZone, { ...day, hour: "2-digit", minute: "2-digit" });
}

function minuteOfDay(at, timeZone) {
  const [hours, minutes] = date(at, timeZone, { hour: "2-digit", minute: "2-digit" }).split(":");
  return Number(hours) * 60 + Number(minutes);
}
