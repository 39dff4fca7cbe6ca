// Totals and both charts: they come from one answer, so that they always agree.

import * as api from "../api.js";
import { Chart } from "../charts/chart.js";
import { satisfactionPlan, satisfactionRows } from "../charts/satisfaction.js";
import { tableAlternative } from "../charts/table.js";
import { votesPlan, votesRows } from "../charts/votes.js";
import { byId } from "../dom.js";
import { clock, count, duration, interval, percent } from "../format.js";
import { Loading } from "../loading.js";
import { bucketName, buckets } from "../period.js";
import { scope } from "../state.js";
import { showHero } from "./hero.js";

export class SummaryView {
  #spoken = "";

  /** `answered` hears of each summary. */
  constructor({ store, troubles, answered }) {
    this.store = store;
    this.answered = answered;
    this.loading = new Loading(byId("answers"), troubles);
    const zoom = (from, to) => store.set({ from, to });
    this.trend = new Chart(byId("trend-chart"), { plan: satisfactionPlan, rows: satisfactionRows, zoom });
    this.votes = new Chart(byId("votes-chart"), { plan: votesPlan, rows: votesRows, zoom });
    const when = ["When", (row) => row.name];
    this.fillTrend = tableAlternative(byId("trend-table"), "Satisfaction over time", [
      when,
      ["Satisfaction", (row) => percent(row.satisfaction)],
      ["95 % interval", (row) => interval(row.satisfaction_low, row.satisfaction_high)],
      ["Period before", (row) => percent(row.before?.satisfaction)],
    ]);
    this.fillVotes = tableAlternative(byId("votes-table"), "Votes", [
      when,
      ["Up", (row) => count(row.up)],
      ["Down", (row) => count(row.down)],
      ["Taken back", (row) => count(row.undone)],
      ["With a comment", (row) => count(row.comments)],
    ]);
  }

  update(state, span) {
    const parameters = {
      from: new Date(span.from),
      to: new Date(span.to),
      interval: span.interval,
      tz: this.store.timeZone,
      ...scope(state),
    };
    this.loading.loadOnce(
      api.query(parameters),
      (signal) => api.summary(parameters, signal),
      (answer) => this.#show(answer, span),
    );
  }

  redraw() {
    this.trend.redraw();
    this.votes.redraw();
  }

  #show(answer, span) {
    this.answered(answer, span);
    this.#fresh(answer);
    const spoken = showHero(answer, span.before);
    // The same sentence again would be read aloud at each refresh.
    if (spoken !== this.#spoken) byId("announcer").textContent = this.#spoken = spoken;
    const view = {
      buckets: buckets(answer.series, answer.interval, span),
      series: answer.series,
      previous: answer.previous_series,
      interval: answer.interval,
      timeZone: this.store.timeZone,
    };
    if (!view.buckets.length) return;
    this.trend.show(view, trendInWords(view, answer.totals));
    this.votes.show(view, votesInWords(view, answer.totals));
    const rows = view.buckets.map((bucket, index) => ({
      ...answer.series[index],
      before: answer.previous_series[index],
      name: bucketName(bucket.start, view.interval, view.timeZone) + (bucket.partial ? " (a part)" : ""),
    }));
    this.fillTrend(rows);
    this.fillVotes(rows);
  }

  #fresh({ as_of: asOf, staleness_seconds: behind }) {
    const at = asOf ? `As of ${clock(Date.parse(asOf), this.store.timeZone)}` : "";
    byId("fresh").textContent = behind == null ? at : `${at}, ${duration(behind)} behind`;
    byId("fresh").title = `Times are in ${this.store.timeZone}`;
  }
}

function trendInWords(view, totals) {
  const known = view.series
    .map((bucket, index) => ({ ...bucket, index }))
    .filter((bucket) => bucket.satisfaction != null);
  if (!known.length) return "Satisfaction over time: no votes.";
  known.sort((a, b) => a.satisfaction - b.satisfaction);
  const name = ({ index }) => bucketName(view.buckets[index].start, view.interval, view.timeZone);
  const [worst, best] = [known[0], known.at(-1)];
  return [
    `Line chart of satisfaction by ${view.interval}, ${percent(totals.satisfaction)} over all.`,
    `Lowest: ${percent(worst.satisfaction)}, ${name(worst)}.`,
    `Highest: ${percent(best.satisfaction)}, ${name(best)}.`,
    "The data table below has all figures.",
  ].join(" ");
}

function votesInWords(view, totals) {
  return [
    `Bar chart of votes by ${view.interval}:`,
    `${count(totals.up)} up, ${count(totals.down)} down, ${count(totals.undone)} taken back.`,
    "The data table below has all figures.",
  ].join(" ");
}
