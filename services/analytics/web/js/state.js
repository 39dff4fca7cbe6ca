// What is shown, kept in the URL: a view can be sent to a colleague, and the back button works.

import { RANGES } from "./period.js";

const SOURCES = ["langwatch", "lunary"];
const INTERVALS = ["minute", "hour", "day", "week"];
const VOTES = ["down", "up", "any"];

const DEFAULTS = Object.freeze({
  project: "",
  range: "28d",
  from: null,
  to: null,
  tz: null,
  source: "",
  type: "",
  interval: "",
  by: "",
  order: "",
  vote: "down",
  comment: true,
  search: "",
  user: "",
  trace: "",
});

/** The state that a query string tells. What it cannot mean is left at its default: a link never breaks the page. */
export function parse(query) {
  const given = new URLSearchParams(query);
  const state = { ...DEFAULTS };
  const from = Date.parse(given.get("from") ?? "");
  const to = Date.parse(given.get("to") ?? "");
  if (from < to) Object.assign(state, { from, to });
  state.range = one(given.get("range"), Object.keys(RANGES), DEFAULTS.range);
  state.tz = zone(given.get("tz"));
  state.source = one(given.get("source"), SOURCES, "");
  state.interval = one(given.get("interval"), INTERVALS, "");
  state.order = one(given.get("order"), ["worst"], "");
  state.vote = one(given.get("vote"), VOTES, DEFAULTS.vote);
  state.comment = given.get("comment") !== "any";
  for (const name of ["project", "type", "by", "search", "user", "trace"]) state[name] = given.get(name) ?? "";
  return state;
}

/** What every question to the API is about. A key of several projects asks about its first unless one is named. */
export function scope({ project, source, type }) {
  return { project, source, event_type: type };
}

/** The query string of a state; what is at its default is left out. */
export function format(state) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value === DEFAULTS[name] || value == null) continue;
    if (name === "from" || name === "to") query.set(name, new Date(value).toISOString());
    else if (name === "comment") query.set(name, "any");
    else query.set(name, value);
  }
  return query.size ? `?${query}` : "";
}

export class Store {
  #listeners = [];

  constructor() {
    this.state = parse(location.search);
    addEventListener("popstate", () => this.#now(parse(location.search)));
  }

  /** The viewer's time zone, or that of the view which was sent. */
  get timeZone() {
    return this.state.tz ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  }

  subscribe(listener) {
    this.#listeners.push(listener);
  }

  /** Changes some of it, as a new step in the browser's history. */
  set(patch) {
    const next = { ...this.state, ...patch };
    const query = format(next);
    if (query !== format(this.state)) history.pushState(null, "", query || location.pathname);
    this.#now(next);
  }

  /** The address of the state with a patch. */
  link(patch) {
    return format({ ...this.state, ...patch }) || location.pathname;
  }

  #now(state) {
    this.state = state;
    for (const listener of this.#listeners) listener(state);
  }
}

function one(value, allowed, otherwise) {
  return allowed.includes(value) ? value : otherwise;
}

function zone(name) {
  if (!name) return null;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return null;
  }
}
