// One event as people read it: used by the list of comments, the live tail and a trace's story.

import { h } from "../dom.js";
import { figure } from "../format.js";
import { icon, voteKind } from "../icons.js";

const SOURCE_NAMES = { langwatch: "LangWatch", lunary: "Lunary" };
const NOT_CHIPS = new Set(["feedback", "comment", "thumb"]);
const MOST_CHIPS = 5;

export function sourceName(source) {
  return SOURCE_NAMES[source] ?? source;
}

export function voteBadge(vote) {
  const kind = voteKind(vote);
  return h("span", { class: `vote vote-${kind.name}` }, icon(kind.name), kind.label);
}

/** The vote of an event; for one without, what it is. */
export function eventBadge(event) {
  if (event.vote != null) return voteBadge(event.vote);
  const name = event.comment == null ? "signal" : "comment";
  return h("span", { class: `vote vote-${name}` }, icon(name), event.comment == null ? event.event_type : "Comment");
}

/** Its details, and metrics other than the vote, as name and value. */
export function chips(event, most = MOST_CHIPS) {
  const metrics = Object.entries(event.metrics ?? {}).filter(([name]) => name !== "vote");
  const details = Object.entries(event.details ?? {}).filter(
    ([name, value]) => !NOT_CHIPS.has(name) && value != null && value !== "",
  );
  const all = [...details, ...metrics.map(([name, value]) => [name, figure(value)])];
  const chip = ([name, value]) =>
    h("span", { class: "chip", title: `${name}: ${value}` }, h("span", { class: "chip-name" }, `${name} `), value);
  const rest = all.length - most;
  return [all.slice(0, most).map(chip), rest > 0 && h("span", { class: "chip" }, `${rest} more`)];
}

/** A link to the story of a trace, by address and by click. */
export function storyLink(store, trace, text, key) {
  const follow = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    store.set({ trace });
  };
  const label = `${text} of trace ${trace}`;
  return h(
    "a",
    { href: store.link({ trace }), class: "story-link", "aria-label": label, dataset: { key }, onclick: follow },
    text,
  );
}
