// Before there is a picture: what the styles make of a cat, once each.

const SECONDS = 2.6;

export class Welcome {
	#made = []; // { title, address }, as they come
	#index = 0;
	#timer = 0;

	constructor(figure) {
		[this.photo, this.painting] = figure.querySelectorAll("img");
		this.caption = figure.querySelector("figcaption");
		this.calm = matchMedia("(prefers-reduced-motion: reduce)");
	}

	/** One more painting of the sample. */
	add(title, address) {
		this.#made.push({ title, address });
		if (this.#made.length - 1 === this.#index) this.#show(); // all before it have been shown
	}

	stop() {
		clearTimeout(this.#timer);
		this.#made = [];
	}

	#show() {
		const { title, address } = this.#made[this.#index];
		this.painting.src = address;
		this.caption.textContent = title;
		if (this.calm.matches) return;
		this.painting.animate?.([{ clipPath: "inset(0 100% 0 0)" }, { clipPath: "inset(0)" }], { duration: 900, easing: "ease-in-out" });
		this.#timer = setTimeout(() => {
			this.photo.src = address;
			this.#index += 1;
			if (this.#made[this.#index]) this.#show();
		}, SECONDS * 1000);
	}
}
