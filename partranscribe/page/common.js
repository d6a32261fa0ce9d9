// What all pages have in common. Everything a page shows comes from the elements that hold data; text from there is only ever
// set as textContent.
"use strict";

const by = (id) => document.getElementById(id);
const data = JSON.parse(by("data").textContent);

/** Give a page the theme of the system, until another is chosen by hand, which counts more. */
function followTheme(setTheme) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = false;
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    by("theme").setAttribute("aria-pressed", String(theme === "dark"));
    setTheme();
  };
  by("theme").addEventListener("click", () => {
    chosen = true;
    set(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  });
  dark.addEventListener("change", () => { if (!chosen) set(dark.matches ? "dark" : "light"); });
  set(dark.matches ? "dark" : "light");
}

