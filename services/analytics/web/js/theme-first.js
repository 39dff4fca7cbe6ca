// Before the first paint, so that a page in a chosen theme does not flash in the other one. A classic script: modules
// come later.
"use strict";
try {
  const theme = localStorage.getItem("plaudit-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden: the system's theme it is.
}
