// Signals of other kinds than votes: how often, and what values.

import * as api from "../api.js";
import { byId, h, replace } from "../dom.js";
import { count, figure } from "../format.js";
import { Loading } from "../loading.js";
import { scope } from "../state.js";

const COLUMNS = [
  ["Count", "count", count],
  ["Mean", "mean", figure],
  ["Median", "p50", figure],
  ["90 %", "p90", figure],
  ["99 %", "p99", figure],
  ["Least", "min", figure],
  ["Most", "max", figure],
];

export class SignalsView {
  constructor({ troubles }) {
    this.section = byId("signals");
    this.loading = new Loading(this.section, troubles);
  }

  update(state, span) {
    const parameters = { from: new Date(span.from), to: new Date(span.to), ...scope(state) };
    this.loading.loadOnce(
      api.query(parameters),
      (signal) => api.metrics(parameters, signal),
      ({ metrics }) => this.#show(metrics),
    );
  }

  #show(metrics) {
    const others = metrics.filter((metric) => metric.name !== "vote");
    this.section.hidden = others.length === 0;
    const row = (metric) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, metric.name, h("span", { class: "muted" }, ` ${metric.event_type}`)),
        COLUMNS.map(([, name, show]) => h("td", { class: "number" }, show(metric[name]))),
      );
    replace(
      byId("signals-body"),
      h(
        "table",
        {},
        h("caption", { class: "visually-hidden" }, "Metrics of events other than the vote"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Metric"),
            COLUMNS.map(([heading]) => h("th", { scope: "col", class: "number" }, heading)),
          ),
        ),
        h("tbody", {}, others.map(row)),
      ),
    );
  }
}
