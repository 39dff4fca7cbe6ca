// Nothing to show: because nothing was ever sent, or because of what was asked.

import * as api from "../api.js";
import { byId, h, replace } from "../dom.js";
import { moment } from "../format.js";
import { Loading } from "../loading.js";
import { RANGES } from "../period.js";
import { setUpCopying } from "./filters.js";

const BEGINNING = new Date(0);
const DOOR_PORT = 8080;

export class EmptyView {
  /** `project` gives the name of the one that is looked at. */
  constructor({ store, troubles, project }) {
    this.store = store;
    this.project = project;
    this.section = byId("empty");
    this.loading = new Loading(this.section, troubles);
  }

  hide() {
    this.loading.cancel();
    this.section.hidden = true;
  }

  /** Finds out which of both it is, and tells. */
  show(now) {
    this.section.hidden = false;
    const parameters = { project: this.store.state.project, from: BEGINNING, to: new Date(now), limit: 1 };
    this.loading.load(
      (signal) => api.events(parameters, signal),
      ({ events }) => {
        if (events.length) this.#elsewhere(Date.parse(events[0].time));
        else this.#first();
      },
    );
  }

  #elsewhere(newest) {
    const to = newest + 60_000;
    const around = { from: to - RANGES["28d"].span, to, source: "", type: "" };
    replace(
      this.section,
      h("h2", { id: "empty-title" }, "Nothing here"),
      h(
        "p",
        {},
        "There is no feedback in this period with these filters. ",
        `The newest of project ${this.project()} is from ${moment(newest, this.store.timeZone)}.`,
      ),
      h(
        "p",
        { class: "buttons" },
        h(
          "button",
          { type: "button", class: "primary", dataset: { key: "around" }, onclick: () => this.store.set(around) },
          "Show the 28 days up to it",
        ),
      ),
    );
  }

  #first() {
    if (this.section.querySelector("pre")) return; // it is there already, and somebody may be copying it
    const command = firstEvent();
    const copy = h("button", { type: "button" }, "Copy");
    setUpCopying(copy, () => command);
    replace(
      this.section,
      h("h2", { id: "empty-title" }, "Send the first event"),
      h(
        "p",
        {},
        "Project ",
        h("b", {}, this.project()),
        " has no feedback yet. Point your LangWatch or Lunary client at this address, or try it by hand:",
      ),
      h(
        "div",
        { class: "command" },
        h("pre", { tabindex: "0", "aria-label": "Command that sends a first event" }, h("code", {}, command)),
        copy,
      ),
      h(
        "p",
        { class: "muted" },
        h("code", {}, "KEY"),
        " is the LangWatch key that ",
        h("code", {}, "plaudit up"),
        " printed, or one of your own: ",
        h("code", {}, `plaudit keys add --project ${this.project()} --kind langwatch`),
        ". For Lunary clients set ",
        h("code", {}, `LUNARY_API_URL=${doorUrl()}`),
        ".",
      ),
      h("p", { class: "waiting", role: "status" }, "This page is waiting for it."),
    );
  }
}

function firstEvent() {
  const event = {
    trace_id: "my-first-trace",
    event_type: "thumbs_up_down",
    metrics: { vote: 1 },
    event_details: { feedback: "Hello, Plaudit" },
  };
  return [
    `curl ${doorUrl()}/api/track_event \\`,
    `  -H "X-Auth-Token: $KEY" -H 'Content-Type: application/json' \\`,
    `  -d '${JSON.stringify(event)}'`,
  ].join("\n");
}

/** Where clients send feedback, as this service was told; else this host with the door's usual port. */
function doorUrl() {
  const told = document.querySelector('meta[name="plaudit-ingest-url"]').content.replace(/\/+$/, "");
  return told || `${location.protocol}//${location.hostname}:${DOOR_PORT}`;
}
