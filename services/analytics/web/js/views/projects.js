// Which project: a name, or a choice where the key is for several.

import { byId, h, replace } from "../dom.js";

export class ProjectsView {
  #names = [];

  constructor(store) {
    this.store = store;
    this.place = byId("project");
  }

  /** The project that is shown. */
  get current() {
    const { project } = this.store.state;
    return this.#names.includes(project) ? project : this.#names[0];
  }

  /** The first one is shown where the address names none of them. */
  offer(names) {
    this.#names = names;
    this.place.hidden = false;
    if (this.store.state.project && !names.includes(this.store.state.project)) this.store.set({ project: "" });
    if (names.length === 1) {
      replace(this.place, names[0]);
      return;
    }
    const choose = ({ target }) =>
      this.store.set({ project: target.value === names[0] ? "" : target.value, trace: "" });
    replace(
      this.place,
      h(
        "select",
        { "aria-label": "Project", onchange: choose },
        names.map((name) => h("option", { value: name }, name)),
      ),
    );
  }

  update() {
    const select = this.place.querySelector("select");
    if (select) select.value = this.current;
  }

  hide() {
    this.place.hidden = true;
  }
}
