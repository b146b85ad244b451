// Two pictures, one over the other, with a divider: zoomed and moved together.

import { lay } from "./dom.js";

const STEP = 1.25; // of a zoom by key or button
const MOST = 32; // device pixels for a pixel of the picture
const SHARP = 3; // device pixels from which on pixels are shown as squares
const KEY_MOVE = 60;

/** Which way the arrow keys lead: right, down. */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** A number between 0 and `most`. */
export const within = (value, most = 1) => Math.min(most, Math.max(0, value));

export class Viewer {
	#pointers = new Map();
	#view = { scale: 1, x: 0, y: 0 };
	#fitted = true;
	#moved = false;

	/** `root` has the elements .before and .after, each with an img, and .divider. */
	constructor(root) {
		this.root = root;
		this.size = { width: 0, height: 0 };
		this.tool = null; // what gets the pointer and the keys first: a mask, a crop
		this.onView = () => {}; // after every change of the view
		this.before = root.querySelector(".before img");
		this.after = root.querySelector(".after img");
		this.divider = root.querySelector(".divider");
		this.compareAt(50);
		this.#listen();
	}

	/** Device pixels for a pixel of the picture. */
	get zoom() {
		return this.#view.scale * devicePixelRatio;
	}

	showPhoto(url, size, alt) {
		this.clearResult();
		Object.assign(this.before, { src: url, alt });
		this.size = size;
		this.fit();
	}

	/** Lay a result over the photograph. The part that is seen stays, whatever the result's size. */
	showResult(url, size, alt) {
		const ratio = size.width / this.size.width;
		Object.assign(this.after, { src: url, alt });
		this.root.classList.add("compared");
		this.size = size;
		this.#set({ ...this.#view, scale: this.#view.scale / ratio });
		if (this.#fitted) this.fit();
	}

	clearResult(size = this.size) {
		this.after.removeAttribute("src");
		this.root.classList.remove("compared");
		if (size.width !== this.size.width) {
			this.#view.scale *= this.size.width / size.width;
			this.size = size;
			this.#set(this.#view);
		}
	}

	fit() {
		const { clientWidth, clientHeight } = this.root;
		const { width, height } = this.size;
		if (!width || !clientWidth) return;
		const scale = Math.min(clientWidth / width, clientHeight / height, 8);
		this.#set({ scale, x: (clientWidth - width * scale) / 2, y: (clientHeight - height * scale) / 2 });
		this.#fitted = true;
		this.root.classList.add("fitted");
	}

	/** One pixel of the picture on one of the screen. */
	actual(point) {
		this.zoomTo(1 / devicePixelRatio, point);
	}

	zoomBy(factor, point) {
		this.zoomTo(this.#view.scale * factor, point);
	}

	zoomTo(scale, point = { x: this.root.clientWidth / 2, y: this.root.clientHeight / 2 }) {
		const { scale: old, x, y } = this.#view;
		const least = Math.min(0.02, 1 / Math.max(this.size.width, 1));
		const next = Math.min(Math.max(scale, least), MOST / devicePixelRatio);
		this.#free();
		this.#set({ scale: next, x: point.x - (point.x - x) * next / old, y: point.y - (point.y - y) * next / old });
	}

	moveBy(dx, dy) {
		this.#free();
		this.#set({ ...this.#view, x: this.#view.x + dx, y: this.#view.y + dy });
	}

	/** Put the divider there, per cent of the width: the photograph is left of it. */
	compareAt(percent) {
		const value = within(percent, 100);
		this.root.style.setProperty("--divider", `${value}%`);
		this.divider.setAttribute("aria-valuenow", Math.round(value));
		this.divider.setAttribute("aria-valuetext", `${Math.round(value)} % photograph`);
		this.divided = value;
	}

	/** Where a pointer is in the picture, in shares of its sides. */
	share(event) {
		const { left, top } = this.root.getBoundingClientRect();
		const { scale, x, y } = this.#view;
		return {
			x: (event.clientX - left - x) / scale / this.size.width,
			y: (event.clientY - top - y) / scale / this.size.height,
		};
	}

	/** Where a rectangle of the picture, in shares, is in the viewer, in CSS pixels. */
	place({ x, y, width, height }) {
		const view = this.#view;
		const [across, down] = [view.scale * this.size.width, view.scale * this.size.height];
		return { left: view.x + x * across, top: view.y + y * down, width: width * across, height: height * down };
	}

	#free() {
		this.#fitted = false;
		this.root.classList.remove("fitted");
	}

	#set(view) {
		this.#view = this.#kept(view);
		const { scale, x, y } = this.#view;
		const place = { left: x, top: y, width: this.size.width * scale, height: this.size.height * scale };
		for (const layer of [this.before, this.after]) lay(layer, place);
		this.root.classList.toggle("pixels", this.zoom >= SHARP);
		this.onView();
	}

	/** A view in which the middle of the viewer shows a part of the picture. */
	#kept({ scale, x, y }) {
		const [middleX, middleY] = [this.root.clientWidth / 2, this.root.clientHeight / 2];
		return {
			scale,
			x: Math.min(middleX, Math.max(middleX - this.size.width * scale, x)),
			y: Math.min(middleY, Math.max(middleY - this.size.height * scale, y)),
		};
	}

	#listen() {
		const { root, divider } = this;
		new ResizeObserver(() => (this.#fitted ? this.fit() : this.#set(this.#view))).observe(root);
		const listen = (target, acts) => {
			for (const name in acts) target.addEventListener(name, acts[name].bind(this), { passive: false });
		};
		listen(root, {
			wheel: this.#wheel, dblclick: this.#toggle, keydown: this.#key,
			pointerdown: this.#down, pointermove: this.#move, pointerup: this.#up, pointercancel: this.#up,
		});
		listen(divider, { pointerdown: this.#grab, pointermove: this.#slide, keydown: this.#slideByKey });
	}

	#point(event) {
		const { left, top } = this.root.getBoundingClientRect();
		return { x: event.clientX - left, y: event.clientY - top };
	}

	#wheel(event) {
		if (!this.size.width) return;
		event.preventDefault();
		this.zoomBy(Math.exp(-event.deltaY * 0.0016), this.#point(event));
	}

	#toggle(event) {
		if (this.tool) return;
		if (this.#fitted) this.actual(this.#point(event));
		else this.fit();
	}

	#key(event) {
		if (event.target !== this.root || event.ctrlKey || event.metaKey || event.altKey) return;
		if (this.tool?.key?.(event)) {
			event.preventDefault();
			return;
		}
		const { key } = event;
		const [dx, dy] = ARROWS[key] ?? [];
		if (key === "+" || key === "=") this.zoomBy(STEP);
		else if (key === "-") this.zoomBy(1 / STEP);
		else if (key === "0") this.fit();
		else if (key === "1") this.actual();
		else if (ARROWS[key]) this.moveBy(-dx * KEY_MOVE, -dy * KEY_MOVE);
		else return;
		event.preventDefault();
	}

	#down(event) {
		if (event.button || event.target.closest("button, .divider")) return;
		this.root.setPointerCapture(event.pointerId);
		this.#pointers.set(event.pointerId, this.#point(event));
		this.#moved = false;
		this.tooled = this.#pointers.size === 1 && Boolean(this.tool?.begin(this.share(event)));
	}

	#move(event) {
		this.tool?.hover?.(this.share(event), event);
		const old = this.#pointers.get(event.pointerId);
		if (!old) return;
		const point = this.#point(event);
		const [dx, dy] = [point.x - old.x, point.y - old.y];
		this.#moved ||= Math.hypot(dx, dy) > 3;
		if (this.#pointers.size === 2) this.#pinch(event.pointerId, old, point);
		else if (this.tooled) this.tool?.move(this.share(event));
		else if (this.#moved && !(this.#fitted && event.pointerType === "touch")) this.moveBy(dx, dy);
		else return;
		this.#pointers.set(event.pointerId, point);
	}

	#pinch(id, old, point) {
		const [, other] = [...this.#pointers].find(([key]) => key !== id);
		const spread = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
		this.zoomBy(spread(point) / spread(old), { x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 });
	}

	#up(event) {
		if (!this.#pointers.delete(event.pointerId)) return;
		if (this.tooled) this.tool?.end();
		else if (!this.#moved && event.type === "pointerup") this.tool?.click?.(this.share(event));
		this.tooled = false;
	}

	#grab(event) {
		event.preventDefault();
		this.divider.setPointerCapture(event.pointerId);
		this.divider.focus({ preventScroll: true });
	}

	#slide(event) {
		if (!this.divider.hasPointerCapture(event.pointerId)) return;
		this.compareAt(100 * this.#point(event).x / this.root.clientWidth);
	}

	#slideByKey(event) {
		const step = event.shiftKey ? 10 : 2;
		const [dx, dy] = ARROWS[event.key] ?? [];
		if (ARROWS[event.key]) this.compareAt(this.divided + step * (dx - dy));
		else if (event.key === "Home") this.compareAt(0);
		else if (event.key === "End") this.compareAt(100);
		else return;
		event.preventDefault();
	}
}
