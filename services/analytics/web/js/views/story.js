// One trace: what holds now, and everything that was said about it, in order and as it was sent.

import * as api from "../api.js";
import { byId, h, replace } from "../dom.js";
import { count, moment } from "../format.js";
import { Loading } from "../loading.js";
import { chips, eventBadge, sourceName, voteBadge } from "./event.js";

const MOST_SHOWN = 200;
const TIME_NOTES = {
  none: "The client told no time; this is when it was received.",
  past: "By the client's clock, long ago.",
  ahead: "The client's clock ran ahead.",
  out_of_range: "The client's time cannot be told in a date.",
};

export class StoryView {
  #trace = "";

  constructor({ store, troubles }) {
    this.store = store;
    this.dialog = byId("story");
    this.body = h("div", { class: "story-body" });
    this.title = h("h2", { id: "story-title", tabindex: "-1" }, "Trace");
    const close = h("button", { type: "button", class: "quiet", onclick: () => this.#leave() }, "Close");
    replace(this.dialog, h("div", { class: "card-head" }, this.title, close), this.body);
    this.loading = new Loading(this.body, troubles);
    // Escape, and a click beside it: both only change the address, and the address closes it.
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.#leave();
    });
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.#leave());
  }

  update(state) {
    if (state.trace === this.#trace) return;
    this.#trace = state.trace;
    this.loading.cancel();
    if (!state.trace) {
      this.dialog.close();
      return;
    }
    replace(this.body, h("p", { class: "nothing" }, "Loading …"));
    replace(this.title, "Trace ", h("code", {}, state.trace));
    if (!this.dialog.open) this.dialog.showModal();
    this.title.focus();
    this.loading.load(
      (signal) => api.trace(state.trace, { project: state.project }, signal),
      (story) => this.#show(story),
    );
  }

  /** Closes it without touching the address: the page is being left. */
  stop() {
    this.#trace = "";
    this.loading.cancel();
    this.dialog.close();
  }

  #leave() {
    this.store.set({ trace: "" });
  }

  #show({ current, events, source, total_events: total = events.length }) {
    const shown = events.slice(-MOST_SHOWN);
    replace(
      this.body,
      h(
        "section",
        { class: "story-now", "aria-label": "What holds now" },
        h("h3", {}, "Holds now"),
        h(
          "p",
          {},
          current.vote == null ? "No vote" : voteBadge(current.vote),
          current.vote_time &&
            h("span", { class: "muted" }, `since ${moment(Date.parse(current.vote_time), this.store.timeZone)}`),
        ),
        current.comment ? h("blockquote", { dir: "auto" }, current.comment) : null,
      ),
      h(
        "h3",
        {},
        `History, ${count(total)} ${total === 1 ? "event" : "events"}${source ? ` by ${sourceName(source)}` : ""}`,
      ),
      h(
        "ol",
        { class: "history" },
        shown.map((event) => this.#item(event)),
      ),
      shown.length < total &&
        h("p", { class: "nothing" }, `The newest ${count(shown.length)}; the export has all of them.`),
    );
  }

  #item(event) {
    const at = moment(Date.parse(event.time), this.store.timeZone);
    const received = moment(Date.parse(event.received_at), this.store.timeZone);
    const note = TIME_NOTES[event.time_status];
    return h(
      "li",
      { class: event.superseded ? "superseded" : null },
      h(
        "p",
        { class: "said-head" },
        eventBadge(event),
        h("time", { datetime: event.time }, at),
        h("span", {}, event.event_type),
        event.user_id && h("span", { class: "said-by" }, event.user_id),
      ),
      event.comment
        ? h("blockquote", { dir: "auto" }, event.comment)
        : event.comment === ""
          ? h("p", { class: "muted" }, "Comment taken back")
          : null,
      h("p", { class: "chips" }, chips(event, 20)),
      note && h("p", { class: "muted" }, note),
      h(
        "details",
        { class: "raw" },
        h("summary", {}, "As sent", event.sent_again && " more than once", `, received ${received}`),
        event.raw
          ? h("pre", { tabindex: "0" }, pretty(event.raw))
          : h("p", { class: "muted" }, "No longer kept: the original is emptied some time after it was received."),
      ),
    );
  }
}

/** Indented where it can be read, else as it is. Numbers that JavaScript would round are left as they were sent. */
function pretty(raw) {
  try {
    const indented = JSON.stringify(JSON.parse(raw), null, 2);
    return indented.replace(/\s/g, "") === raw.replace(/\s/g, "") ? indented : raw;
  } catch {
    return raw;
  }
}
