// The same figures as a table: for readers aloud, for copying, and for whoever mistrusts pictures.

import { h } from "../dom.js";

/** Fills a <details> with a table once it is opened. Columns: [heading, row → text]; the first one heads its row. */
export function tableAlternative(details, caption, columns) {
  let rows = [];
  const fill = () => {
    details.querySelector(".scroll")?.remove();
    if (details.open) details.append(scrollable(caption, columns, rows));
  };
  details.addEventListener("toggle", fill);
  return (next) => {
    rows = next;
    fill();
  };
}

function scrollable(caption, columns, rows) {
  const cells = (row) =>
    columns.map(([, text], index) => h(index ? "td" : "th", index ? {} : { scope: "row" }, text(row)));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${caption}` },
    h(
      "table",
      {},
      h("caption", { class: "visually-hidden" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(([heading]) => h("th", { scope: "col" }, heading)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) => h("tr", {}, cells(row))),
      ),
    ),
  );
}
