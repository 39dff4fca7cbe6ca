// Building elements. Text only ever becomes text nodes: what people wrote is never read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Properties: `on*` are listeners, `style` is an object of CSS properties, `dataset` an object;
 * true sets an empty attribute; null, undefined and false set none. Children: nodes, texts, arrays; null is left out.
 */
export function h(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

export function svg(name, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

/** Puts these children in the place of all that was there. */
export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
}

export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, css] of Object.entries(value)) element.style.setProperty(key, css);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Renders, and gives the focus back to the element of the same `data-key` if rendering took it away. */
export function keepingFocus(parent, render) {
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  render();
  if (key === undefined) return;
  for (const element of parent.querySelectorAll("[data-key]")) if (element.dataset.key === key) element.focus();
}
