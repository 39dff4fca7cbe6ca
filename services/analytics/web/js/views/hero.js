// The first look: how satisfied people are, whether that changed, and how many there were.

import { byId, h, replace } from "../dom.js";
import { change, count, interval, percent, points } from "../format.js";
import { difference } from "../stats.js";

const VERDICTS = {
  better: ["▲", "Better"],
  worse: ["▼", "Worse"],
  unclear: ["●", "No clear change"],
};

const COUNTS = [
  ["up", "Up"],
  ["down", "Down"],
  ["undone", "Taken back"],
  ["comments", "Comments"],
  ["traces", "Answers judged"],
  ["events", "Events"],
];

/** `before`: what the period before is called. Returns the sentence that sums it up, for reading aloud. */
export function showHero({ totals, previous }, before) {
  const moved = difference(totals, previous);
  replace(
    byId("hero"),
    h("p", { class: "hero-figure" }, percent(totals.satisfaction)),
    totals.satisfaction == null
      ? h("p", { class: "hero-interval" }, "No votes in this period")
      : h(
          "p",
          { class: "hero-interval" },
          `95\u202f% interval ${interval(totals.satisfaction_low, totals.satisfaction_high)}`,
        ),
    moved && verdict(moved, previous, before),
  );
  replace(
    byId("counts"),
    COUNTS.map(([name, label]) => figure(label, totals[name], previous[name])),
  );
  return sentence(totals, moved, previous, before);
}

function verdict(moved, previous, before) {
  const [sign, word] = VERDICTS[moved.verdict];
  return h(
    "div",
    { class: `verdict ${moved.verdict}` },
    h(
      "p",
      { class: "verdict-word" },
      h("span", { "aria-hidden": "true" }, sign),
      ` ${word} `,
      h("span", { class: "verdict-points" }, `${points(moved.value)} points`),
    ),
    h(
      "p",
      { class: "verdict-why" },
      `against ${before}, ${percent(previous.satisfaction)}; 95\u202f%: ${points(moved.low)} to ${points(moved.high)}`,
    ),
  );
}

function figure(label, now, before) {
  const changed = change(now, before);
  return h(
    "div",
    {},
    h("dt", {}, label),
    h("dd", {}, count(now), changed && h("span", { class: "changed" }, ` ${changed}`)),
  );
}

function sentence(totals, moved, previous, before) {
  if (totals.satisfaction == null) return "No votes in this period.";
  const parts = [`Satisfaction ${percent(totals.satisfaction)}`];
  if (moved) parts.push(`${VERDICTS[moved.verdict][1].toLowerCase()}: ${percent(previous.satisfaction)} in ${before}`);
  parts.push(`${count(totals.up)} up, ${count(totals.down)} down`);
  return `${parts.join("; ")}.`;
}
