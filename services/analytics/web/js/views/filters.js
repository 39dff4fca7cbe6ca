// Period, source, event type and bucket: what the whole page is about.

import * as api from "../api.js";
import { byId, h, replace } from "../dom.js";
import { Loading } from "../loading.js";

const CONFIRMED_MILLISECONDS = 2000;

export class FiltersView {
  #types = [];
  #reflected = null;

  /** `period` gives the one that is shown. */
  constructor({ store, troubles, period }) {
    this.store = store;
    this.period = period;
    this.form = byId("filters");
    this.custom = byId("custom-range");
    this.loading = new Loading(byId("event-type"), troubles);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#applyCustom();
    });
    byId("range").addEventListener("change", () => this.#rangeChosen());
    byId("source").addEventListener("change", (event) => store.set({ source: event.target.value }));
    byId("event-type").addEventListener("change", (event) => store.set({ type: event.target.value }));
    byId("interval").addEventListener("change", (event) => store.set({ interval: event.target.value }));
    setUpCopying(byId("copy-link"), () => this.#fixedLink());
  }

  update(state, span) {
    this.#reflectRange(state);
    byId("source").value = state.source;
    byId("interval").value = state.interval;
    this.#offerTypes(state.type);
    const parameters = {
      by: "event_type",
      from: new Date(span.from),
      to: new Date(span.to),
      project: state.project,
      source: state.source,
    };
    this.loading.loadOnce(
      api.query(parameters),
      (signal) => api.breakdown(parameters, signal),
      (answer) => {
        this.#types = answer.groups.map((group) => group.value);
        this.#offerTypes(this.store.state.type);
      },
    );
  }

  /** Only when it changed: a refresh must not close or overwrite what somebody is typing into. */
  #reflectRange({ range, from, to }) {
    const reflected = `${range} ${from} ${to}`;
    if (reflected === this.#reflected) return;
    this.#reflected = reflected;
    const fixed = from != null;
    this.form.elements.range.value = fixed ? "custom" : range;
    this.#openCustom(fixed);
  }

  #offerTypes(chosen) {
    const types = chosen && !this.#types.includes(chosen) ? [...this.#types, chosen] : this.#types;
    const select = byId("event-type");
    replace(
      select,
      h("option", { value: "" }, "All"),
      types.map((type) => h("option", { value: type }, type)),
    );
    select.value = chosen;
  }

  #rangeChosen() {
    const range = this.form.elements.range.value;
    if (range !== "custom") {
      this.store.set({ range, from: null, to: null });
      return;
    }
    this.#openCustom(true);
    byId("custom-from").focus();
  }

  #openCustom(open) {
    this.custom.hidden = !open;
    byId("custom-error").textContent = "";
    for (const input of [byId("custom-from"), byId("custom-to")]) input.disabled = !open;
    if (!open) return;
    const { from, to } = this.period();
    byId("custom-from").value = local(from);
    byId("custom-to").value = local(to);
  }

  #applyCustom() {
    const [from, to] = [Date.parse(byId("custom-from").value), Date.parse(byId("custom-to").value)];
    // The fields speak the viewer's own time, so from here on the page does, too.
    if (from < to) this.store.set({ from, to, tz: null });
    else byId("custom-error").textContent = "The end must be after the start.";
  }

  /** A view that stays what it is: with its instants and its time zone. */
  #fixedLink() {
    const { from, to } = this.period();
    return new URL(this.store.link({ from, to, tz: this.store.timeZone }), location.href).href;
  }
}

/** Copies what `text` gives; without a clipboard (plain http on another host) there is no button. */
export function setUpCopying(button, text) {
  button.hidden = !navigator.clipboard;
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser forbids copying";
    }
    setTimeout(() => {
      button.textContent = label;
    }, CONFIRMED_MILLISECONDS);
  });
}

/** What a datetime-local field takes: the viewer's own time, to the minute. */
function local(at) {
  const date = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}
