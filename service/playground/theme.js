// Light or dark: as the system, unless somebody chose. Before anything is drawn, so that nothing flashes.
{
  const NAMES = { "": "as the system", light: "light", dark: "dark" };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  let chosen = "";
  try {
    chosen = localStorage.getItem("pastiche-theme") || "";
  } catch {
    // Storage may be forbidden; a choice then holds for this visit.
  }

  const show = () => {
    root.dataset.theme = chosen || (system.matches ? "dark" : "light");
    const button = document.getElementById("theme");
    for (const name of ["aria-label", "title"]) button?.setAttribute(name, `Theme: ${NAMES[chosen]}`);
  };

  const next = () => {
    const names = Object.keys(NAMES);
    chosen = names[(names.indexOf(chosen) + 1) % names.length];
    try {
      localStorage.setItem("pastiche-theme", chosen);
    } catch {
      // As above.
    }
    show();
  };

  show();
  system.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", next);
    show();
  });
}
