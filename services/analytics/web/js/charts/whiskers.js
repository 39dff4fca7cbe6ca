// A share with its interval on a common scale, and where the whole lies. Drawn beside figures that say the same.

import { h } from "../dom.js";

/** {low, high} of a scale on which all of these have room, in tens of percent. `all`: the share of the whole, or null. */
export function extent(groups, all) {
  const shares = groups
    .flatMap((group) => [group.satisfaction_low, group.satisfaction_high])
    .filter((share) => share != null);
  if (all != null) shares.push(all);
  if (!shares.length) return { low: 0, high: 1 };
  return { low: Math.floor(Math.min(...shares) * 10) / 10, high: Math.ceil(Math.max(...shares) * 10) / 10 };
}

/** One group on such a scale. */
export function whiskers(group, all, { low, high }) {
  const place = (share) => `${((share - low) / (high - low || 1)) * 100}%`;
  const line = all != null && h("span", { class: "whole", style: { left: place(all) } });
  if (group.satisfaction == null) return h("span", { class: "whisker-plot" }, line);
  const width = `${((group.satisfaction_high - group.satisfaction_low) / (high - low || 1)) * 100}%`;
  return h(
    "span",
    { class: "whisker-plot" },
    line,
    h("span", { class: "whisker", style: { left: place(group.satisfaction_low), width } }),
    h("span", { class: "dot", style: { left: place(group.satisfaction) } }),
  );
}
