// Loading for one part of the page: the latest question wins, the others are called off.

import { ApiError } from "./api.js";
import { h, keepingFocus } from "./dom.js";

export class Loading {
  #controller = null;
  #key = null;

  /** `element` is marked busy meanwhile and stale after a failure; `troubles` hears of what concerns the whole page. */
  constructor(element, troubles) {
    this.element = element;
    this.troubles = troubles;
    troubles.watch(this);
  }

  /** As `load`, but only where `key` is another than the last time, or the last time failed. */
  async loadOnce(key, call, show) {
    if (key !== this.#key) await this.load(call, show, key);
  }

  /** Calls with a signal to abort it, and shows the answer unless something newer was asked for meanwhile. */
  async load(call, show, key = null) {
    this.cancel();
    this.#key = key;
    const controller = new AbortController();
    this.#controller = controller;
    this.element.setAttribute("aria-busy", "true");
    try {
      const answer = await call(controller.signal);
      if (controller !== this.#controller) return;
      this.#settled(null);
      this.troubles.answered();
      keepingFocus(this.element, () => show(answer));
    } catch (error) {
      if (error.name === "AbortError" || controller !== this.#controller) return;
      if (!(error instanceof ApiError)) throw error;
      this.#key = null;
      this.#settled(this.troubles.report(error) ? "" : error.message);
    } finally {
      if (controller === this.#controller) this.element.removeAttribute("aria-busy");
    }
  }

  cancel() {
    this.#key = null;
    this.#controller?.abort();
    this.#controller = null;
    this.element.removeAttribute("aria-busy");
  }

  /** `failure`: null for none, "" for one that the page tells at its top, else what is told here. */
  #settled(failure) {
    this.element.classList.toggle("stale", failure !== null);
    this.element.querySelector(":scope > .panel-error")?.remove();
    if (failure) this.element.append(h("p", { class: "panel-error", role: "alert" }, failure));
  }
}
