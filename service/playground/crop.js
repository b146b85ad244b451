// A small part of the photograph, enlarged before all of it is.

import { lay } from "./dom.js";
import { ARROWS, within } from "./viewer.js";

const OUTPUT = 512; // pixels of the preview
const KEY_STEP = 0.05;

export class Crop {
	/** `frame` shows the part on the photograph; `onChange` is called when it has been moved. */
	constructor(viewer, frame, onChange) {
		Object.assign(this, { viewer, frame, onChange });
		this.scale = 4;
		this.picture = null;
	}

	/** Begin where a picture has the most detail. */
	of(picture) {
		this.picture = picture;
		this.middle = picture.busiest();
	}

	/** The part, in pixels of the photograph. */
	get part() {
		const { width, height } = this.picture;
		const side = Math.min(Math.round(OUTPUT / this.scale), width, height);
		const start = (middle, length) => Math.round(Math.min(Math.max(middle * length - side / 2, 0), length - side));
		return { x: start(this.middle.x, width), y: start(this.middle.y, height), width: side, height: side };
	}

	place() {
		if (this.picture) lay(this.frame, this.viewer.place(this.#shares()));
	}

	/** A drag that begins in the frame moves it; any other moves the picture. */
	begin(point) {
		const { x, y, width, height } = this.#shares();
		this.offset = { x: point.x - x - width / 2, y: point.y - y - height / 2 };
		return Math.abs(this.offset.x) <= width / 2 && Math.abs(this.offset.y) <= height / 2;
	}

	move(point) {
		this.#moveTo({ x: point.x - this.offset.x, y: point.y - this.offset.y });
	}

	end() {
		this.onChange();
	}

	click(point) {
		this.#moveTo(point);
		this.onChange();
	}

	key(event) {
		if (!ARROWS[event.key]) return false;
		const [dx, dy] = ARROWS[event.key];
		this.click({ x: this.middle.x + dx * KEY_STEP, y: this.middle.y + dy * KEY_STEP });
		return true;
	}

	#moveTo({ x, y }) {
		this.middle = { x: within(x), y: within(y) };
		this.place();
	}

	#shares() {
		const { x, y, width, height } = this.part;
		const whole = this.picture;
		return { x: x / whole.width, y: y / whole.height, width: width / whole.width, height: height / whole.height };
	}
}
