// Where the style applies: brushed over the photograph, by pointer or by keys.

import { lay, make } from "./dom.js";
import { toBlob } from "./picture.js";
import { ARROWS, within } from "./viewer.js";

const LONGEST = 1024; // pixels; the service enlarges a mask to the photograph
const KEY_STEP = 0.04;
const WHOLE = { x: 0, y: 0, width: 1, height: 1 };

export class Mask {
	#context;
	#last = null;

	/** `ring` shows the brush, `onChange` is called after every stroke. */
	constructor(viewer, canvas, ring, onChange) {
		Object.assign(this, { viewer, canvas, ring, onChange });
		this.brush = 0.12; // of the longest side
		this.erases = false;
		this.empty = true;
		this.cursor = { x: 0.5, y: 0.5 };
		this.#context = canvas.getContext("2d", { willReadFrequently: true });
	}

	/** An empty mask for a picture of that size. */
	reset({ width, height }) {
		const scale = Math.min(1, LONGEST / Math.max(width, height));
		Object.assign(this.canvas, { width: Math.round(width * scale) || 1, height: Math.round(height * scale) || 1 });
		this.empty = true;
	}

	/** What was brushed, to be kept and brought back. */
	get strokes() {
		return this.#context.getImageData(0, 0, this.canvas.width, this.canvas.height);
	}

	set strokes(kept) {
		this.#context.putImageData(kept, 0, 0);
		this.empty = false;
	}

	clear() {
		this.reset(this.canvas);
		this.#changed();
	}

	invert() {
		const { width, height } = this.canvas;
		Object.assign(this.#context, { globalCompositeOperation: "source-out", fillStyle: this.#colour() });
		this.#context.fillRect(0, 0, width, height);
		this.#changed();
	}

	/** White where the style applies, black elsewhere: what the API takes as `mask`. */
	file() {
		const { width, height } = this.canvas;
		const canvas = make("canvas", { width, height });
		const context = canvas.getContext("2d");
		context.drawImage(this.canvas, 0, 0);
		for (const [operation, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
			context.globalCompositeOperation = operation;
			context.fillStyle = colour;
			context.fillRect(0, 0, width, height);
		}
		return toBlob(canvas, "image/png");
	}

	begin(point) {
		this.#last = point;
		this.#stroke(point);
		return true;
	}

	move(point) {
		this.#stroke(point);
	}

	end() {
		this.#last = null;
		this.#changed();
	}

	hover(point) {
		this.cursor = point;
		this.placeRing();
	}

	/** Arrows move the brush, the space bar paints. */
	key(event) {
		if (event.key === " ") {
			this.begin(this.cursor);
			this.end();
		} else if (ARROWS[event.key]) {
			const [dx, dy] = ARROWS[event.key];
			this.hover({ x: within(this.cursor.x + dx * KEY_STEP), y: within(this.cursor.y + dy * KEY_STEP) });
		} else return false;
		return true;
	}

	/** Put the canvas and the ring where the viewer shows the photograph. */
	place() {
		lay(this.canvas, this.viewer.place(WHOLE));
		this.placeRing();
	}

	placeRing() {
		const { left, top } = this.viewer.place({ ...this.cursor, width: 0, height: 0 });
		const { width, height } = this.viewer.place(WHOLE);
		const side = this.brush * Math.max(width, height);
		lay(this.ring, { left: left - side / 2, top: top - side / 2, width: side, height: side });
	}

	#colour() {
		return getComputedStyle(this.canvas).color;
	}

	#stroke(point) {
		const { width, height } = this.canvas;
		const from = this.#last ?? point;
		const context = this.#context;
		context.globalCompositeOperation = this.erases ? "destination-out" : "source-over";
		Object.assign(context, { strokeStyle: this.#colour(), lineCap: "round", lineJoin: "round" });
		context.lineWidth = this.brush * Math.max(width, height);
		context.beginPath();
		context.moveTo(from.x * width, from.y * height);
		context.lineTo(point.x * width + 0.01, point.y * height);
		context.stroke();
		this.#last = point;
	}

	#changed() {
		this.empty = !new Uint32Array(this.strokes.data.buffer).some(Boolean);
		this.onChange();
	}
}
