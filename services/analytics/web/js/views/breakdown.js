// Where: satisfaction by a dimension that can be chosen, each with its interval against the whole.

import * as api from "../api.js";
import { extent, whiskers } from "../charts/whiskers.js";
import { byId, h, replace } from "../dom.js";
import { count, figure, interval, percent } from "../format.js";
import { Loading } from "../loading.js";
import { scope } from "../state.js";

const LIMIT = 12;
/** Where LangWatch's clients put the comment: to be read, not to be counted. */
const COMMENT = "feedback";
const FIXED = [
  ["source", "Source"],
  ["event_type", "Event type"],
  ["user_id", "User"],
  ["thread_id", "Thread"],
  ["model", "Model"],
  ["prompt", "Prompt"],
  ["version", "Version"],
  ["run", "Run or root span"],
  ["user", "User, or else the run's"],
];
/** What a value of a dimension narrows the page down to, as a change of the state. */
const NARROW = {
  source: (value) => ({ source: value }),
  event_type: (value) => ({ type: value }),
  user_id: (value) => ({ user: value }),
};

export class BreakdownView {
  #groups = null;
  #keys = null;

  constructor({ store, troubles }) {
    this.store = store;
    this.body = byId("breakdown-body");
    this.by = byId("breakdown-by");
    this.order = byId("breakdown-order");
    this.loading = new Loading(byId("breakdown"), troubles);
    this.keysLoading = new Loading(this.by, troubles);
    this.by.addEventListener("change", () => store.set({ by: this.by.value }));
    this.order.addEventListener("change", () => store.set({ order: this.order.value }));
  }

  update(state, span) {
    const bounds = { from: new Date(span.from), to: new Date(span.to), project: state.project };
    this.order.value = state.order;
    this.keysLoading.loadOnce(
      api.query(bounds),
      (signal) => api.breakdownKeys(bounds, signal),
      (keys) => {
        this.#keys = keys;
        this.#load(this.store.state, bounds);
      },
    );
    if (this.#keys) this.#load(state, bounds);
    if (this.#groups) this.#show(this.#groups);
  }

  #load(state, bounds) {
    const by = state.by || usual(this.#keys);
    this.#offer(by);
    const parameters = { ...bounds, ...scope(state), by, limit: LIMIT };
    this.loading.loadOnce(
      api.query(parameters),
      (signal) => api.breakdown(parameters, signal),
      (answer) => {
        this.#groups = answer;
        this.#show(answer);
      },
    );
  }

  #offer(by) {
    const groups = [
      ["Events", FIXED],
      ["Details", this.#keys.details.filter((name) => name !== COMMENT).map((name) => [`detail:${name}`, name])],
      ["Metrics", this.#keys.metrics.map((name) => [`metric:${name}`, name])],
    ];
    if (!groups.some(([, options]) => options.some(([value]) => value === by)))
      groups.push(["From the link", [[by, by]]]);
    const option = ([value, label]) => h("option", { value }, label);
    replace(
      this.by,
      groups
        .filter(([, options]) => options.length)
        .map(([label, options]) => h("optgroup", { label }, options.map(option))),
    );
    this.by.value = by;
  }

  #show({ by, groups, other }) {
    if (!groups.length) {
      replace(this.body, h("p", { class: "nothing" }, "Nothing to break down in this period."));
      return;
    }
    const all = whole(other ? [...groups, other] : groups);
    const shown = this.store.state.order === "worst" ? [...groups].sort(worstFirst) : groups;
    const scale = extent(groups, all);
    const withMean = groups.some((group) => group.mean != null);
    const heading = this.by.selectedOptions[0]?.textContent ?? by;
    replace(
      this.body,
      h(
        "table",
        { class: "breakdown" },
        h("caption", { class: "visually-hidden" }, `Satisfaction by ${heading}`),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, heading),
            h(
              "td",
              { class: "whiskers", "aria-hidden": "true" },
              h(
                "span",
                { class: "scale" },
                h("span", {}, percent(scale.low, 0)),
                h("span", {}, percent(scale.high, 0)),
              ),
            ),
            h(
              "th",
              { scope: "col", class: "number" },
              h("span", { class: "narrow-hidden" }, "Satisfaction"),
              h("span", { class: "narrow-only", "aria-hidden": "true" }, "Sat."),
            ),
            withMean && h("th", { scope: "col", class: "number" }, "Mean"),
            h("th", { scope: "col", class: "number" }, "Votes"),
          ),
        ),
        h(
          "tbody",
          {},
          shown.map((group) => this.#row(by, group, all, scale, withMean)),
          other?.traces > 0 && this.#row(null, { ...other, value: "All others" }, all, scale, withMean),
        ),
      ),
      all != null && h("p", { class: "whole-note" }, `All of these: ${percent(all)}. ▼ ▲: clearly below or above it.`),
    );
  }

  #row(by, group, all, scale, withMean) {
    const against = compared(group, all);
    return h(
      "tr",
      { class: against },
      h("th", { scope: "row" }, this.#name(by, group.value)),
      h("td", { class: "whiskers", "aria-hidden": "true" }, whiskers(group, all, scale)),
      h(
        "td",
        { class: "number", title: `95 %: ${interval(group.satisfaction_low, group.satisfaction_high)}` },
        against && h("span", { class: "mark", "aria-hidden": "true" }, against === "below" ? "▼ " : "▲ "),
        percent(group.satisfaction),
        against && h("span", { class: "visually-hidden" }, ` (${against} the whole)`),
      ),
      withMean && h("td", { class: "number" }, figure(group.mean)),
      h("td", { class: "number" }, count(group.up + group.down)),
    );
  }

  #name(by, value) {
    if (value == null || value === "") return h("i", {}, "not told");
    const narrow = NARROW[by];
    if (!narrow) return h("span", { class: "value", title: value }, value);
    const patch = narrow(value);
    const follow = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.store.set(patch);
    };
    return h(
      "a",
      {
        class: "value",
        href: this.store.link(patch),
        title: `Only ${value}`,
        dataset: { key: `group ${value}` },
        onclick: follow,
      },
      value,
    );
  }
}

function usual(keys) {
  const key =
    ["model", "version", "locale"].find((name) => keys.details.includes(name)) ??
    keys.details.find((name) => name !== COMMENT);
  return key ? `detail:${key}` : "source";
}

function whole(groups) {
  const up = groups.reduce((sum, group) => sum + group.up, 0);
  const down = groups.reduce((sum, group) => sum + group.down, 0);
  return up + down ? up / (up + down) : null;
}

function worstFirst(a, b) {
  return (a.satisfaction ?? 2) - (b.satisfaction ?? 2);
}

/** Clearly below or above the whole: with its entire interval. */
function compared(group, all) {
  if (group.satisfaction == null || all == null) return null;
  if (group.satisfaction_high < all) return "below";
  if (group.satisfaction_low > all) return "above";
  return null;
}
