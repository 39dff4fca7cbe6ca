// Satisfaction over time: the line, its 95 % band, and the period before as a faint dashed line.

import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { interval, percent } from "../format.js";

const FEW = 45;

/** For Chart: see there. */
export function satisfactionPlan(view, palette) {
  const whole = wholeBuckets(view);
  const of = (name) => view.series.map((bucket, index) => (whole[index] ? bucket[name] : null));
  const share = of("satisfaction");
  const previous = view.buckets.map((_, index) => (whole[index] ? (view.previous[index]?.satisfaction ?? null) : null));
  const parts = view.series.map((bucket, index) => (whole[index] ? null : bucket.satisfaction));
  const edge = { stroke: "transparent", width: 0, points: { show: false } };
  return {
    data: [
      view.buckets.map((bucket) => bucket.middle),
      of("satisfaction_high"),
      of("satisfaction_low"),
      previous,
      share,
      parts,
    ],
    bands: [{ series: [1, 2], fill: palette.band }],
    series: [
      { ...edge, label: "95 % high" },
      { ...edge, label: "95 % low" },
      { label: "Period before", stroke: palette.previous, width: 1.5, dash: [5, 4], points: { show: false } },
      {
        label: "Satisfaction",
        stroke: palette.up,
        width: 2.25,
        paths: uPlot.paths.linear(),
        points: { show: share.length <= FEW || lonely(share), size: 5, fill: palette.up },
      },
      { label: "Parts", stroke: palette.up, width: 0, points: { show: true, size: 6, width: 1.5, fill: palette.card } },
    ],
    y: {
      range: () =>
        extent(
          [...share, ...previous],
          view.series.filter((_, index) => whole[index]),
        ),
      label: (value) => percent(value, Number.isInteger(Math.round(value * 1000) / 10) ? 0 : 1),
    },
  };
}

export function satisfactionRows(view, index) {
  const bucket = view.series[index];
  const before = view.previous[index];
  const votes = bucket.up + bucket.down;
  return [
    ["key-line", "Satisfaction", percent(bucket.satisfaction)],
    ["key-band", "95 %", interval(bucket.satisfaction_low, bucket.satisfaction_high)],
    ["", "Of votes", String(votes)],
    ["key-dashed", "Before", percent(before?.satisfaction)],
  ];
}

/**
 * Which buckets the line goes through. One that the period cuts has few votes (today, just after midnight) and would
 * look like a fall or a rise: it is a hollow point without a line. Unless there is hardly anything else.
 */
function wholeBuckets(view) {
  const whole = view.buckets.map((bucket) => !bucket.partial);
  const known = view.series.filter((bucket, index) => whole[index] && bucket.satisfaction != null);
  return known.length < 2 ? whole.map(() => true) : whole;
}

/** From the lines, and half of a usual band around them: a bucket of two votes must not flatten all others. */
function extent(values, series) {
  const known = values.filter((value) => value != null);
  if (!known.length) return [0, 1];
  const widths = series
    .filter((bucket) => bucket.satisfaction != null)
    .map((bucket) => bucket.satisfaction_high - bucket.satisfaction_low);
  widths.sort((a, b) => a - b);
  const room = (widths[Math.floor(widths.length / 2)] ?? 0.1) * 0.6;
  const low = Math.max(0, Math.floor((Math.min(...known) - room) * 20) / 20);
  const high = Math.min(1, Math.ceil((Math.max(...known) + room) * 20) / 20);
  // A little more at 0 and 100 %, where points would be cut in half.
  return [low === 0 ? -0.02 : low, high === 1 ? 1.02 : high];
}

/** Whether a value stands alone between gaps, where no line would show it. */
function lonely(values) {
  return values.some((value, index) => value != null && values[index - 1] == null && values[index + 1] == null);
}
