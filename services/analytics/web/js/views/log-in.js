// Logging in with a read key. The key goes to the service once and is not kept here.

import * as api from "../api.js";
import { ApiError } from "../api.js";
import { byId } from "../dom.js";

export class LogInView {
  /** `done` hears that it worked. */
  constructor({ done }) {
    this.section = byId("log-in");
    this.key = byId("key");
    this.error = byId("log-in-error");
    byId("log-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(event.submitter, done);
    });
  }

  /** `reason`: why it is asked again, if it is. */
  show(reason = "") {
    this.section.hidden = false;
    this.#tell(reason);
    this.key.value = "";
    this.key.focus();
  }

  hide() {
    this.section.hidden = true;
  }

  async #submit(button, done) {
    const key = this.key.value.trim();
    if (!key) {
      this.#tell("Enter a read key.");
      return;
    }
    if (button) button.disabled = true;
    this.#tell("");
    try {
      await api.logIn(key);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#tell(
        error.status === 401
          ? "This is no read key that holds. It may have been revoked, or be a key of another kind."
          : error.message,
      );
      this.key.setAttribute("aria-invalid", "true");
      this.key.select();
      return;
    } finally {
      if (button) button.disabled = false;
    }
    this.key.value = "";
    done();
  }

  #tell(message) {
    this.key.removeAttribute("aria-invalid");
    this.error.textContent = message;
  }
}
