// Every style, painted from the picture: small, two at a time, after all that somebody waits for.

import { make, press } from "./dom.js";

const SIDE = 384; // pixels
const AT_ONCE = 2;
const TRIES = 8;
const BLANK = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>";

export class Thumbnails {
	#running = null;
	#picture = null;
	#kept = new Map(); // addresses of its paintings, by digest of the style

	/** `list` gets a button for each style: `onChoose(name)`. `onPainted(name, address)` hears of paintings. */
	constructor(api, list, { onChoose, onPainted }) {
		Object.assign(this, { api, list, onChoose, onPainted, buttons: new Map() });
	}

	/** Give up what is not painted yet. */
	stop() {
		this.#running?.abort();
	}

	showStyles(styles) {
		this.buttons = new Map(styles.map((style) => [style.name, button(style)]));
		this.list.replaceChildren(...[...this.buttons.values()].map((made) => make("li", {}, made)));
		for (const made of this.buttons.values()) made.addEventListener("click", () => this.onChoose(made.value));
	}

	select(name) {
		press(this.buttons.values(), ({ value }) => value === name);
		const item = this.buttons.get(name)?.parentElement;
		if (item) this.list.scrollLeft = item.offsetLeft - this.list.offsetLeft - (this.list.clientWidth - item.clientWidth) / 2;
	}

	/** Paint a picture in every style, instead of the one before. */
	async paint(picture) {
		this.stop();
		const { signal } = this.#running = new AbortController();
		if (picture !== this.#picture) {
			for (const address of this.#kept.values()) URL.revokeObjectURL(address);
			this.#kept.clear();
		}
		this.#picture = picture;
		const kept = ({ dataset: { digest } }) => this.#kept.get(digest);
		for (const made of this.buttons.values()) setState(made, kept(made) ? "done" : "waiting", kept(made));
		const names = [...this.buttons.keys()].filter((style) => !kept(this.buttons.get(style)));
		const small = await picture.small(SIDE);
		const work = async () => {
			for (let name = names.shift(); name && !signal.aborted; name = names.shift()) {
				await this.#one(name, small, signal);
			}
		};
		await Promise.all(Array.from({ length: AT_ONCE }, work));
	}

	async #one(name, body, signal) {
		const path = `v1/stylize/${encodeURIComponent(name)}?format=webp&quality=82&priority=bulk`;
		const made = this.buttons.get(name);
		try {
			const answer = await this.api.send(path, { method: "POST", body, signal, tries: TRIES });
			const address = URL.createObjectURL(await answer.blob());
			this.#kept.set(made.dataset.digest, address);
			setState(made, "done", address);
			this.onPainted(name, address);
		} catch (error) {
			if (!signal.aborted) setState(made, "failed", "", error.message);
		}
	}
}

function button({ name, title, digest }) {
	const made = make("button", { value: name }, make("img", { alt: "", src: BLANK }), make("span", {}, title || name));
	made.dataset.digest = digest;
	return made;
}

function setState(made, state, address, reason = "") {
	made.dataset.state = state;
	made.title = reason;
	made.firstChild.src = address || BLANK;
}
