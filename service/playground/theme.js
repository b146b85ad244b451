// Light or dark, as the system unless somebody chose: before anything is drawn, or it would flash.
{
	const KEY = "pastiche-theme";
	const system = matchMedia("(prefers-color-scheme: dark)");
	const { dataset } = document.documentElement;
	let chosen = "";
	try {
		chosen = localStorage.getItem(KEY);
	} catch {
		// Forbidden: a choice holds for this visit.
	}

	const show = () => { dataset.theme = chosen || (system.matches ? "dark" : "light"); };

	const toggle = () => {
		chosen = dataset.theme === "dark" ? "light" : "dark";
		show();
		localStorage.setItem(KEY, chosen); // where that is forbidden, the last thing that happens
	};

	show();
	system.onchange = show;
	addEventListener("DOMContentLoaded", () => { document.getElementById("theme").onclick = toggle; });
}
