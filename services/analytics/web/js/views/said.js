// What people wrote: the newest bad answers, or any others, page by page.

import * as api from "../api.js";
import { byId, h, replace } from "../dom.js";
import { ago, moment } from "../format.js";
import { Loading } from "../loading.js";
import { scope } from "../state.js";
import { chips, eventBadge, sourceName, storyLink } from "./event.js";

const PAGE = 10;

export class SaidView {
  #next = null;
  #parameters = {};
  #pages = 0;

  constructor({ store, troubles }) {
    this.store = store;
    this.list = byId("said-list");
    this.more = byId("said-more");
    this.form = byId("said-filters");
    this.loading = new Loading(byId("said"), troubles);
    this.moreLoading = new Loading(this.more, troubles);
    this.more.addEventListener("click", () => this.#older());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => store.set(this.#chosen()));
    // The cross in a search field empties it without a change.
    byId("said-search").addEventListener("search", () => store.set(this.#chosen()));
  }

  /** `again`: a refresh by the clock, which must not take away pages that somebody reads. */
  update(state, span, again) {
    this.#reflect(state);
    const filters = this.#filters(state, span);
    this.#offerExport(filters);
    if (again && this.#pages > 1) return;
    this.#parameters = { ...filters, limit: PAGE };
    this.loading.loadOnce(
      api.query(this.#parameters),
      (signal) => api.events(this.#parameters, signal),
      (answer) => {
        this.moreLoading.cancel();
        this.#pages = 1;
        replace(this.list, this.#items(answer.events));
        if (!answer.events.length) replace(this.list, h("li", { class: "nothing" }, this.#nothing()));
        this.#offerMore(answer.next);
      },
    );
  }

  #filters(state, span) {
    return {
      from: new Date(span.from),
      to: new Date(span.to),
      ...scope(state),
      vote: state.vote === "any" ? "" : state.vote,
      has_comment: state.comment ? "true" : "",
      current: state.vote === "any" ? "" : "true",
      search: state.search,
      user_id: state.user,
    };
  }

  #chosen() {
    const vote = this.form.elements.vote.value;
    return { vote, comment: byId("said-comment").checked, search: byId("said-search").value.trim() };
  }

  #reflect(state) {
    this.form.elements.vote.value = state.vote;
    byId("said-comment").checked = state.comment;
    byId("said-search").value = state.search;
    const user = byId("said-user");
    user.hidden = !state.user;
    if (!state.user) return;
    replace(
      user,
      "Only ",
      h("b", {}, state.user),
      " ",
      h("button", { type: "button", class: "quiet", onclick: () => this.store.set({ user: "" }) }, "All users"),
    );
  }

  #offerExport(filters) {
    for (const format of ["csv", "ndjson", "parquet"])
      byId(`export-${format}`).href = api.exportAddress({ format, ...filters });
  }

  #older() {
    if (!this.#next) return;
    const parameters = { ...this.#parameters, cursor: this.#next };
    this.moreLoading.load(
      (signal) => api.events(parameters, signal),
      (answer) => {
        this.#pages += 1;
        const items = this.#items(answer.events);
        this.list.append(...items);
        this.#offerMore(answer.next);
        // Keyboards and readers aloud go on where the new ones start.
        items[0]?.querySelector("a")?.focus({ preventScroll: true });
      },
    );
  }

  #offerMore(next) {
    this.#next = next;
    this.more.hidden = next == null;
  }

  #nothing() {
    const { vote, comment, search, user } = this.store.state;
    const kind = { down: "bad", up: "good", any: "" }[vote];
    const about = search ? ` with “${search}”` : comment ? " with a comment" : "";
    return `No ${kind ? `${kind} ` : ""}answers${about}${user ? ` by ${user}` : ""} in this period.`;
  }

  #items(events) {
    const now = Date.now();
    return events.map((event) => h("li", {}, this.#article(event, now)));
  }

  #article(event, now) {
    const at = Date.parse(event.time);
    const user = event.user_id;
    return h(
      "article",
      { class: "said" },
      h(
        "p",
        { class: "said-head" },
        eventBadge(event),
        h("time", { datetime: event.time, title: moment(at, this.store.timeZone) }, ago(at, now, this.store.timeZone)),
        h("span", {}, sourceName(event.source)),
        user && h("span", { class: "said-by" }, user),
        storyLink(this.store, event.trace_id, "Story", `story ${event.id}`),
      ),
      event.comment ? h("blockquote", { dir: "auto" }, event.comment) : null,
      h("p", { class: "chips" }, chips(event)),
    );
  }
}
