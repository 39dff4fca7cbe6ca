// The page once somebody is logged in: gives every part the state and the period, and refreshes them by the clock.

import { byId } from "./dom.js";
import { period } from "./period.js";
import { BreakdownView } from "./views/breakdown.js";
import { EmptyView } from "./views/empty.js";
import { FiltersView } from "./views/filters.js";
import { PipelineView } from "./views/pipeline.js";
import { ProjectsView } from "./views/projects.js";
import { SaidView } from "./views/said.js";
import { SignalsView } from "./views/signals.js";
import { StoryView } from "./views/story.js";
import { SummaryView } from "./views/summary.js";
import { TailView } from "./views/tail.js";

const REFRESH_MILLISECONDS = 30_000;
const FIRST_EVENT_MILLISECONDS = 3_000;

export class Dashboard {
  #timer = null;
  #now = Date.now();
  #running = false;

  constructor(store, troubles) {
    this.store = store;
    this.troubles = troubles;
    this.projects = new ProjectsView(store);
    const shared = { store, troubles };
    this.filters = new FiltersView({ ...shared, period: () => this.period() });
    this.summary = new SummaryView({ ...shared, answered: (answer) => this.#answered(answer) });
    this.breakdown = new BreakdownView(shared);
    this.said = new SaidView(shared);
    this.tail = new TailView(shared);
    this.signals = new SignalsView(shared);
    this.story = new StoryView(shared);
    this.pipeline = new PipelineView(shared);
    this.empty = new EmptyView({ ...shared, project: () => this.projects.current });
    store.subscribe((state) => this.#running && this.#changed(state));
    document.addEventListener("visibilitychange", () => this.#running && this.refresh());
  }

  /** The period that is shown. It stands still between refreshes, so that all parts speak of the same. */
  period() {
    return period(this.store.state, this.#now);
  }

  /** `projects`: those that may be read, the usual one first. */
  start(projects) {
    this.#running = true;
    this.projects.offer(projects);
    byId("dashboard").hidden = false;
    this.#now = Date.now();
    this.pipeline.start();
    this.#update(this.store.state, false);
    this.#schedule(REFRESH_MILLISECONDS);
  }

  stop() {
    this.#running = false;
    this.troubles.callOff();
    clearTimeout(this.#timer);
    this.pipeline.stop();
    this.tail.stop();
    this.story.stop();
    this.projects.hide();
    byId("dashboard").hidden = true;
  }

  /** Asks everything again, up to now. */
  refresh() {
    if (document.visibilityState === "hidden") return;
    this.#now = Date.now();
    this.#update(this.store.state, true);
    this.pipeline.refresh();
    this.#schedule(REFRESH_MILLISECONDS);
  }

  redraw() {
    this.summary.redraw();
  }

  #changed(state) {
    this.#update(state, false);
  }

  #update(state, again) {
    const span = this.period();
    this.projects.update(state);
    this.filters.update(state, span);
    this.summary.update(state, span);
    this.breakdown.update(state, span);
    this.said.update(state, span, again);
    this.signals.update(state, span);
    this.tail.update(state);
    this.story.update(state);
  }

  #answered({ totals }) {
    const nothing = totals.events === 0 && totals.traces === 0;
    byId("answers").hidden = nothing;
    if (!nothing) {
      this.empty.hide();
      return;
    }
    this.empty.show(this.#now);
    this.#schedule(FIRST_EVENT_MILLISECONDS);
  }

  #schedule(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#schedule(REFRESH_MILLISECONDS);
      this.refresh();
    }, milliseconds);
  }
}
