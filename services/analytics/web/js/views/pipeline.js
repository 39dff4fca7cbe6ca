// The pipeline's health in one line: is what we see all there is, and how old is it?

import * as api from "../api.js";
import { byId, h, replace } from "../dom.js";
import { count, duration } from "../format.js";
import { ApiError } from "../api.js";

const EVERY_MILLISECONDS = 10_000;
const LATE_SECONDS = 60;

export class PipelineView {
  #timer = null;
  #asked = null;

  constructor({ store, troubles }) {
    this.store = store;
    this.line = byId("pipeline");
    this.troubles = troubles;
    document.addEventListener("visibilitychange", () => this.#timer !== null && this.#ask());
  }

  start() {
    if (this.#timer !== null) return;
    this.line.hidden = false;
    this.#timer = setInterval(() => this.#ask(), EVERY_MILLISECONDS);
    this.#ask();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#asked?.abort();
    this.line.hidden = true;
  }

  /** Asks at once, since everything else on the page is asked again. */
  refresh() {
    if (this.#timer !== null) this.#ask();
  }

  async #ask() {
    if (document.visibilityState === "hidden") return;
    this.#asked?.abort();
    const asked = new AbortController();
    this.#asked = asked;
    try {
      this.#show(await api.pipeline({ project: this.store.state.project }, asked.signal));
    } catch (error) {
      if (!(error instanceof ApiError)) {
        if (error.name === "AbortError") return;
        throw error;
      }
      if (error.status === 401) this.troubles.report(error);
      this.#tell("bad", "Pipeline unknown", []);
    }
  }

  #show(health) {
    const figures = [
      ["waiting", count(health.backlog)],
      // Nothing came in lately: then there is no delay to tell of.
      ...(health.delay_seconds == null ? [] : [["delay", duration(health.delay_seconds)]]),
      ["dead letters", count(health.dead_letters)],
    ];
    const problems = health.problems ?? [];
    if (problems.length) this.#tell("bad", problems.map(words).join("; "), figures);
    else if (late(health)) this.#tell("late", "Pipeline late", figures);
    else this.#tell("good", "Pipeline healthy", figures);
    this.line.title = [
      `${count(health.workers)} workers, ${count(health.pending)} entries in their hands`,
      `oldest entry waits for ${duration(health.oldest_seconds)}`,
      `${count(health.duplicates_today)} duplicates dropped today`,
      ...(health.relays ?? []).map(
        (relay) =>
          `${relay.source}: ${count(relay.relayed)} requests relayed, ${count(relay.dropped)} lost, ` +
          `${count(relay.queued)} waiting`,
      ),
    ].join("\n");
  }

  #tell(state, text, figures) {
    this.line.dataset.state = state;
    replace(
      this.line,
      h("span", { class: "light", "aria-hidden": "true" }),
      h("b", {}, text),
      figures.map(([name, value]) => h("span", { class: "pipeline-figure" }, `${value} ${name}`)),
    );
  }
}

function late(health) {
  return health.delay_seconds > LATE_SECONDS || health.oldest_seconds > LATE_SECONDS;
}

function words(problem) {
  return typeof problem === "string" ? problem : (problem.message ?? JSON.stringify(problem));
}
