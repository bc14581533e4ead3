// Sets the colour scheme before the first paint, so that a dark page never flashes white. A classic script on purpose:
// modules run after the page is painted.
"use strict";
(() => {
  let theme = "system";
  try {
    theme = JSON.parse(localStorage.getItem("duelist:theme")) ?? "system";
  } catch {
    // A browser that keeps nothing follows the system's colour scheme.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
