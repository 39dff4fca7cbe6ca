// The theme: the system's, or the one that was chosen here.

const STORED = "plaudit-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const LABELS = { system: "Auto", light: "Light", dark: "Dark" };

/** Wires the button; calls `changed` whenever the colours are others, by choice or by the system. */
export function setUpTheme(button, changed) {
  const show = () => {
    const theme = current();
    button.textContent = `Theme: ${LABELS[theme]}`;
    button.setAttribute("aria-label", `Theme: ${LABELS[theme]}. Change to ${LABELS[NEXT[theme]]}`);
  };
  button.addEventListener("click", () => {
    choose(NEXT[current()]);
    show();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show();
}

function current() {
  return document.documentElement.dataset.theme ?? "system";
}

function choose(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(STORED, theme);
  } catch {
    // Storage is forbidden: the choice holds until the page is left.
  }
}
