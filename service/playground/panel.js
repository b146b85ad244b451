// The controls: what they show of the settings, and what they change.

import { element, make, press } from "./dom.js";
import { formatOf, LOSSY, paintedSize, WRITTEN } from "./request.js";
import { sides } from "./words.js";

const BROADEST = 192; // pixels: below, a painting shows nothing but strokes
const AUTO = { name: "" };
const NETWORKS = [
	[/^$/, "Automatic", "Faithful, or restored where it is damaged."],
	[/^x\d+$/, "Faithful", "Keeps to the picture. For faces and text."],
	[/-perceptual$/, "Sharper", "Invents fine detail. For fur and fabric."],
	[/-photo$/, "Restored", "Removes blocks, noise and blur."],
	[/^paper-/, "As in the paper", "Softer. For comparison."],
];

export class Panel {
	#settings;

	/** `onChange(name)` hears of every setting that was changed by hand. */
	constructor(settings, onChange) {
		this.#settings = settings;
		this.form = element("panel");
		this.stroke = element("stroke");
		this.picture = { width: 1024, height: 1024 };
		this.scales = [];
		this.onChange = onChange;
		this.form.addEventListener("submit", (event) => event.preventDefault());
		for (const part of [this.form, this.form.elements.format]) { // which stands beside the download
			part.addEventListener("input", (event) => this.#read(event.target));
			part.addEventListener("change", (event) => event.target.name && onChange(event.target.name));
		}
		this.stroke.addEventListener("change", () => onChange("stroke"));
	}

	/** The styles to blend in, the formats, the scales. */
	offer(styles, scales) {
		const none = { name: "", title: "none" };
		this.form.elements.blend.replaceChildren(...[none, ...styles].map(({ name, title }) => new Option(title || name, name)));
		this.scales = scales.map((scale) => {
			const onclick = () => { this.#settings.scale = scale; this.onChange("scale"); };
			return make("button", { type: "button", value: scale, onclick }, `×${scale}`, make("small"));
		});
		element("scales").replaceChildren(...this.scales);
	}

	/** The networks of the chosen scale: models of the API. */
	offerNetworks(networks) {
		const list = element("networks");
		const offered = networks.some(({ name, scale }) => scale > 1 && name.endsWith("-photo")) ? [AUTO, ...networks] : networks;
		const chosen = offered.find(({ name }) => name === this.#settings.network) ?? offered[0];
		list.replaceChildren(list.firstElementChild, ...offered.map((network) => labelled(network, network === chosen)));
	}

	/** Everything as the settings have it. */
	show(picture) {
		const settings = this.#settings;
		for (const control of this.form.elements) {
			if (!control.name || !(control.name in settings) || control.type === "radio") continue;
			if (control.type === "checkbox") control.checked = settings[control.name];
			else control.value = control.type === "number" ? settings[control.name] || "" : settings[control.name];
		}
		if (picture) this.#showPicture(picture);
		press(this.scales, ({ value }) => Number(value) === settings.scale);
		this.showValues();
	}

	/** What stands beside the sliders, and which of them count. */
	showValues() {
		const { strength, share, feather, quality, stroke, blend, style } = this.#settings;
		const size = paintedSize(stroke, this.picture);
		const texts = {
			strength: `${strength} %`, share: `${share} %`, feather: feather ? `${feather} px` : "none", quality,
			stroke: size > 0 ? `painted at ${size} px` : `${this.#longest} px, the finest`,
		};
		for (const output of this.form.querySelectorAll("[data-of]")) output.textContent = texts[output.dataset.of];
		element("share-label").hidden = !blend || blend === style;
	}

	#showPicture(picture) {
		this.picture = picture;
		this.stroke.value = 100 * Math.log(this.#settings.stroke / this.#broadest) / (Math.log(this.#longest / this.#broadest) || 1);
		for (const button of this.scales) {
			const scale = Number(button.value);
			button.lastElementChild.textContent = sides({ width: picture.width * scale, height: picture.height * scale });
		}
		const own = formatOf({ format: "" }, picture.file);
		const options = Object.keys(WRITTEN).map((format) => new Option(format.toUpperCase(), format === own ? "" : format));
		const select = element("format");
		select.replaceChildren(...options);
		if (this.#settings.format === own) this.#settings.format = "";
		select.value = this.#settings.format;
		element("quality-label").hidden = !LOSSY.includes(formatOf(this.#settings, picture.file));
	}

	get #longest() {
		return Math.max(this.picture.width, this.picture.height);
	}

	get #broadest() {
		return Math.min(BROADEST, this.#longest / 2);
	}

	#read(control) {
		const settings = this.#settings;
		if (control === this.stroke) {
			const ratio = this.#longest / this.#broadest;
			settings.stroke = Math.round(this.#broadest * ratio ** (control.value / 100));
		} else if (control.name in settings) {
			if (control.type === "checkbox") settings[control.name] = control.checked;
			else if (["range", "number"].includes(control.type)) settings[control.name] = Math.max(0, Number(control.value) || 0);
			else settings[control.name] = control.value;
		}
		this.showValues();
	}
}

/** A network to choose, in words. */
function labelled({ name, title }, checked) {
	const [, word, meaning] = NETWORKS.find(([names]) => names.test(name)) ?? [name, title || name, `The network ${name}.`];
	const input = make("input", { type: "radio", name: "network", value: name, checked });
	return make("label", {}, input, make("strong", {}, word), make("span", { className: "small" }, meaning));
}
