// What the service offers, and what is chosen of it.

export class Served {
	styles = [];
	networks = []; // that enlarge or restore

	/** `models` are those of the API. What is not ready is not offered. */
	take(models) {
		const ready = models.filter(({ state }) => state === "ready");
		this.styles = ready.filter(({ task }) => task === "style");
		this.networks = ready.filter(({ task }) => task !== "style");
	}

	style(name) {
		return named(this.styles, name);
	}

	get scales() {
		return [...new Set(this.networks.map(({ scale }) => scale))].sort((one, other) => one - other);
	}

	/** The networks of a scale: the default, then its relatives, then others. */
	networksOf(scale) {
		const rank = ({ name }) => (name === `x${scale}` ? 0 : name.startsWith(`x${scale}`) ? 1 : 2);
		return this.networks.filter((network) => network.scale === scale).sort((one, other) => rank(one) - rank(other));
	}

	/** Replace what settings name and nobody serves, as links may. The Great Wave first, as in all examples. */
	settle(settings) {
		const { styles, scales } = this;
		if (!styles.length && !scales.length) return; // not known yet
		if (!this.style(settings.style)) settings.style = (this.style("great-wave") ?? styles[0])?.name ?? "";
		if (!this.style(settings.blend)) settings.blend = "";
		if (!scales.includes(settings.scale)) settings.scale = scales.includes(4) ? 4 : scales[0] ?? 4;
		if (!named(this.networksOf(settings.scale), settings.network)) settings.network = "";
	}
}

function named(models, wanted) {
	return models.find(({ name }) => name === wanted);
}
