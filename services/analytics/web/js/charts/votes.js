// Votes over time, stacked. Bad ones stand on the ground line, where a change is easiest to see.

import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { compact, count } from "../format.js";

/** For Chart: see there. Bars are drawn from the tallest to the lowest, each over the one before. */
export function votesPlan(view, palette) {
  const sums = (add) => view.series.map(add);
  const bar = (label, colour) => ({
    label,
    fill: colour,
    stroke: palette.card,
    width: 0.5,
    points: { show: false },
    paths: uPlot.paths.bars({ size: [0.82, 40] }),
  });
  return {
    data: [
      view.buckets.map((bucket) => bucket.middle),
      sums((bucket) => bucket.down + bucket.up + bucket.undone),
      sums((bucket) => bucket.down + bucket.up),
      sums((bucket) => bucket.down),
    ],
    bands: [],
    series: [bar("Taken back", palette.undone), bar("Up", palette.up), bar("Down", palette.down)],
    y: {
      range: (_plot, _low, high) => [0, Math.max(4, high * 1.06)],
      label: (value) => (Number.isInteger(value) ? compact(value) : ""),
    },
  };
}

export function votesRows(view, index) {
  const bucket = view.series[index];
  return [
    ["key-undone", "Taken back", count(bucket.undone)],
    ["key-up", "Up", count(bucket.up)],
    ["key-down", "Down", count(bucket.down)],
    ["", "With a comment", count(bucket.comments)],
  ];
}
