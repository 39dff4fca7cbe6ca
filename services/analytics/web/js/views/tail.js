// Live: events as they arrive, by server-sent events. It can be paused, and pauses itself while nobody looks.

import * as api from "../api.js";
import { byId, h, replace } from "../dom.js";
import { clock, count, date, figure } from "../format.js";
import { Loading } from "../loading.js";
import { scope } from "../state.js";
import { eventBadge, sourceName, storyLink, voteBadge } from "./event.js";

const MOST = 40;
const BEGIN_WITH = 15;
const RECENT_MILLISECONDS = 7 * 86_400_000;
const RETRY_MILLISECONDS = 5000;

export class TailView {
  #source = null;
  #address = null;
  #paused = false;
  #waiting = [];
  #missed = 0;
  #retry = null;
  #begun = false;
  #shown = new Set();

  constructor({ store, troubles }) {
    this.store = store;
    this.loading = new Loading(byId("tail-list"), troubles);
    this.list = byId("tail-list");
    this.state = byId("tail-state");
    this.pause = byId("tail-pause");
    this.pause.addEventListener("click", () => this.#toggle());
    // A browser grants a host six connections for all of its tabs: a tab that is not seen gives its one back.
    document.addEventListener("visibilitychange", () => this.#reconnect());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.#reconnect());
  }

  update(state) {
    const address = api.tailAddress(scope(state));
    if (address === this.#address) {
      // While ClickHouse was away there was nothing to begin with.
      if (!this.#begun) this.#begin(state);
      return;
    }
    this.#address = address;
    this.#begun = false;
    this.#waiting = [];
    this.#missed = 0;
    replace(this.list);
    this.#shown.clear();
    this.#reconnect();
    this.#begin(state);
  }

  stop() {
    this.#address = null;
    this.#close();
    replace(this.list);
  }

  /** What came in before, so that the list does not start empty. */
  #begin(state) {
    const parameters = { from: new Date(Date.now() - RECENT_MILLISECONDS), ...scope(state), limit: BEGIN_WITH };
    this.loading.load(
      (signal) => api.events(parameters, signal),
      ({ events }) => {
        this.#begun = true;
        for (const event of events) if (!this.#shown.has(delivery(event))) this.list.append(this.#item(event));
      },
    );
  }

  #close() {
    this.loading.cancel();
    this.#disconnect();
  }

  #disconnect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  #reconnect() {
    this.#disconnect();
    if (this.#address === null || document.visibilityState === "hidden") return;
    const source = new EventSource(this.#address);
    this.#source = source;
    this.#tell("connecting");
    source.addEventListener("open", () => this.#tell("open"));
    source.addEventListener("feedback", (message) => this.#arrived(JSON.parse(message.data)));
    source.addEventListener("error", () => {
      this.#tell("lost");
      // The browser tries again by itself, except after a refusal.
      if (source.readyState === EventSource.CLOSED)
        this.#retry = setTimeout(() => this.#reconnect(), RETRY_MILLISECONDS);
    });
  }

  #arrived(event) {
    if (!this.#paused) {
      this.#show([event]);
      return;
    }
    this.#missed += 1;
    this.#waiting = [event, ...this.#waiting].slice(0, MOST);
    this.#tell("open");
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.pause.setAttribute("aria-pressed", String(this.#paused));
    if (!this.#paused) {
      this.#show(this.#waiting.reverse());
      this.#waiting = [];
      this.#missed = 0;
    }
    this.#tell(this.#source?.readyState === EventSource.OPEN ? "open" : "lost");
  }

  /** Events, the oldest first. */
  #show(events) {
    for (const event of events) if (!this.#shown.has(delivery(event))) this.list.prepend(this.#item(event));
    while (this.list.children.length > MOST) this.list.lastElementChild.remove();
    // Ids are only remembered to join the beginning and the stream without a seam.
    if (this.#shown.size > 10 * MOST) this.#shown.clear();
  }

  #tell(connection) {
    this.state.dataset.state = this.#paused ? "paused" : connection;
    const words = {
      connecting: "Connecting …",
      open: "Waiting for events as they come in",
      lost: "Connection lost, trying again …",
    };
    this.state.textContent = this.#paused ? `Paused, ${count(this.#missed)} new` : words[connection];
  }

  #item(event) {
    this.#shown.add(delivery(event));
    const at = Date.parse(event.received_at ?? event.time);
    return h(
      "li",
      { class: "tail-item" },
      h("time", { datetime: event.time }, recent(at, this.store.timeZone)),
      event.vote == null && event.comment == null ? voteBadge(null) : eventBadge(event),
      event.comment
        ? h("span", { class: "tail-said", dir: "auto" }, event.comment)
        : h("span", { class: "tail-said tail-kind" }, kind(event)),
      storyLink(this.store, event.trace_id, "Story", `tail ${event.id}`),
    );
  }
}

/** Of an event without a comment: which source, and for a signal which one. */
function kind(event) {
  if (event.vote != null) return sourceName(event.source);
  const metrics = Object.entries(event.metrics ?? {}).map(([name, value]) => `${name} ${figure(value)}`);
  return [event.event_type, ...metrics].join(", ");
}

/** What tells an event that is already listed from one that was corrected: that has the same id. */
function delivery(event) {
  return `${event.id} ${event.received_at}`;
}

/** The time of day; the day where it is another one. */
function recent(at, timeZone) {
  const day = { day: "numeric", month: "short" };
  return date(at, timeZone, day) === date(Date.now(), timeZone, day) ? clock(at, timeZone) : date(at, timeZone, day);
}
