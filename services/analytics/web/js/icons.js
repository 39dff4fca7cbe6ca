// The few icons, drawn here; each stands beside a word, so readers aloud need not hear of them.

import { svg } from "./dom.js";

const PATHS = {
  up: "M4.5 14V6.8M4.5 6.8 7.3 1.6c1 .1 1.6.9 1.4 1.9L8.2 6h4c.9 0 1.5.8 1.3 1.7l-1.1 5c-.2.8-.8 1.3-1.6 1.3H4.5M4.5 6.8H2V14h2.5",
  down: "M4.5 2v7.2M4.5 9.2l2.8 5.2c1-.1 1.6-.9 1.4-1.9L8.2 10h4c.9 0 1.5-.8 1.3-1.7l-1.1-5C12.2 2.5 11.6 2 10.8 2H4.500M4.5 9.200H2V2h2.5",
  undone: "M3 7.500h7a3.2 3.2 0 0 1 0 6.500H6.500M3 7.500l3.2-3.200M3 7.500l3.2 3.2",
  signal: "M2 8h2.600l2-4.8 3 9.6 2-4.800H14",
  comment: "M2.5 3h11v7.500H7.600L4.5 13.300v-2.800h-2z",
};

export function icon(name) {
  return svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" },
    svg("path", { d: PATHS[name] }),
  );
}

/** What a vote is called, and its icon: by the sign of the vote, null for none. */
export function voteKind(vote) {
  if (vote == null) return { name: "signal", label: "Signal" };
  if (vote > 0) return { name: "up", label: vote === 1 ? "Good" : `Good (${vote})` };
  if (vote < 0) return { name: "down", label: vote === -1 ? "Bad" : `Bad (${vote})` };
  return { name: "undone", label: "Taken back" };
}
