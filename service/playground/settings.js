// What is chosen, and the same as the fragment of a link, which never reaches a server or its log.

const DEFAULTS = Object.freeze({
	mode: "paint",
	style: "",
	blend: "", // a second style
	share: 40, // of the second style, per cent
	strength: 100, // per cent
	stroke: 1024, // pixels of the side at which is painted: fewer give broader strokes
	colour: false, // keep the photograph's
	side: 0, // longest side of a painting, 0: the photograph's
	feather: 12, // of the mask, pixels
	scale: 4,
	network: "", // what the service chooses, unless one is named
	correct: true, // back-projection
	width: 0, // of an enlargement, 0: all of it
	format: "", // that of the photograph
	quality: 85,
	metadata: "strip",
	delivery: "auto", // or now, or job
});

const MOST = { share: 99, strength: 100, feather: 1000, scale: 64, quality: 100 };
const LONGEST = 65500; // pixels of a side
const CHOICES = {
	mode: ["paint", "enlarge"],
	format: ["", "jpeg", "png", "webp", "avif", "tiff", "gif"],
	metadata: ["strip", "copyright", "keep"],
	delivery: ["auto", "now", "job"],
};
const NAME = /^[\w.,-]{0,100}$/;

/** The settings of a fragment such as `#style=udnie&strength=60`; defaults where it makes no sense. */
export function parse(fragment) {
	const settings = { ...DEFAULTS };
	for (const [name, text] of new URLSearchParams(fragment.replace(/^#/, ""))) {
		if (!Object.hasOwn(DEFAULTS, name)) continue;
		const value = valueOf(name, text);
		if (value !== null) settings[name] = value;
	}
	return settings;
}

/** The fragment that `parse` reads as these settings: what differs from the defaults. */
export function fragment(settings) {
	const told = new URLSearchParams();
	for (const name of Object.keys(DEFAULTS)) {
		const changed = settings[name] !== DEFAULTS[name];
		if (changed) told.set(name, typeof settings[name] === "boolean" ? Number(settings[name]) : settings[name]);
	}
	return `#${told}`;
}

function valueOf(name, text) {
	if (typeof DEFAULTS[name] === "boolean") return text === "1";
	if (typeof DEFAULTS[name] === "number") {
		const number = Number(text);
		return number >= 0 && number <= (MOST[name] ?? LONGEST) ? number : null;
	}
	if (CHOICES[name]) return CHOICES[name].includes(text) ? text : null;
	return NAME.test(text) ? text : null;
}
