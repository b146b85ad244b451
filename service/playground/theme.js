// Light or dark: as the system, unless somebody chose. Before anything is drawn, so that nothing flashes.
{
  const KEY = "pastiche-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const { dataset } = document.documentElement;
  let chosen = "";
  try {
    chosen = localStorage.getItem(KEY);
  } catch {
    // Storage may be forbidden; a choice then holds for this visit.
  }

  const show = () => { dataset.theme = chosen || (system.matches ? "dark" : "light"); };

  const toggle = () => {
    chosen = dataset.theme === "dark" ? "light" : "dark";
    show();
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // As above.
    }
  };

  show();
  system.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => document.getElementById("theme").addEventListener("click", toggle));
}
