// What concerns the whole page: a store that is away, a session that has ended. Told once, at the top; tried again by
// itself.

import { h, replace } from "./dom.js";

const TITLES = {
  clickhouse_unavailable: "ClickHouse is away",
  no_answer: "No answer from the analytics service",
};
const EXPLANATIONS = {
  clickhouse_unavailable:
    "Feedback is still taken in and kept, and will be here as soon as ClickHouse is back. What you see may be old.",
  no_answer: "The service may be restarting, or this machine is offline. What you see may be old.",
};
const RETRY_SECONDS = 5;

export class Troubles {
  #timer = null;
  #since = null;
  #loadings = [];

  /** `retry` asks everything again; `signedOut` shows the log-in. */
  constructor(place, { retry, signedOut }) {
    this.place = place;
    this.retry = retry;
    this.signedOut = signedOut;
  }

  /** Wants to know of it, so that it can be called off. */
  watch(loading) {
    this.#loadings.push(loading);
  }

  /** Nobody is logged in any more: calls off whatever is under way. */
  callOff() {
    this.clear();
    for (const loading of this.#loadings) loading.cancel();
  }

  /** True if the page as a whole tells of it, so that nobody else need do so. */
  report(error) {
    if (error.status === 401) {
      this.signedOut();
      return true;
    }
    if (!error.outage) return false;
    if (this.#timer === null) {
      this.#since ??= performance.now();
      this.#show(error);
      this.#timer = setTimeout(() => this.#again(), (error.retryAfter ?? RETRY_SECONDS) * 1000);
    }
    return true;
  }

  /** Something was answered as it should be. */
  answered() {
    if (this.#timer === null && this.#since !== null) this.clear();
  }

  clear() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#since = null;
    replace(this.place);
  }

  #again() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.retry();
  }

  #show(error) {
    if (this.place.querySelector(`[data-code="${CSS.escape(error.code)}"]`)) return;
    replace(
      this.place,
      h(
        "div",
        { class: "notice", dataset: { code: error.code } },
        h(
          "p",
          {},
          h("b", {}, `${TITLES[error.code] ?? "Something went wrong"}. `),
          EXPLANATIONS[error.code] ?? error.message,
        ),
        h("button", { type: "button", onclick: () => this.#again() }, "Try again now"),
      ),
    );
  }
}
