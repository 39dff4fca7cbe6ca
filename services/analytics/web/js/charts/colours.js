// The style sheet's colours, for a canvas.

const NAMES = ["ink", "muted", "line", "card", "up", "down", "undone", "band", "previous"];

/** {name: colour} of the theme that holds now. A probe element resolves what a custom property only describes. */
export function colours(element) {
  const probe = document.createElement("span");
  probe.hidden = true;
  element.append(probe);
  const resolved = {};
  for (const name of NAMES) {
    probe.style.setProperty("color", `var(--${name})`);
    resolved[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return resolved;
}
