// The photograph: the file, and the same on screen.

import { make } from "./dom.js";

const CELLS = 9;
const CELL_SIDE = 16; // pixels

/** A file that is open. `image` is what the browser shows of it; `width` and `height` are upright, in pixels. */
export class Picture {
	constructor(file, image, frames) {
		Object.assign(this, { file, image, frames, width: image.naturalWidth, height: image.naturalHeight });
	}

	get url() {
		return this.image.src;
	}

	/** A small copy whose longest side has that many pixels, JPEG. */
	small(side) {
		const scale = Math.min(1, side / Math.max(this.width, this.height));
		const [width, height] = [this.width, this.height].map((length) => Math.max(16, Math.round(length * scale)));
		return toBlob(drawn(this.image, [], width, height), "image/jpeg", 0.92);
	}

	/** A part of it, pixel by pixel, PNG. */
	part({ x, y, width, height }) {
		return toBlob(drawn(this.image, [x, y, width, height], width, height), "image/png");
	}

	/** Where it has the most detail, in shares of the sides: the inner cell that varies most. */
	busiest() {
		const side = CELLS * CELL_SIDE;
		const { data } = drawn(this.image, [], side, side).getContext("2d").getImageData(0, 0, side, side);
		const detail = Array(CELLS ** 2).fill(0);
		for (let at = 1; at < side ** 2; at += 1) {
			const [column, row] = [at % side, at / side].map((place) => Math.floor(place / CELL_SIDE));
			const inner = [column, row].every((cell) => cell > 0 && cell < CELLS - 1);
			if (inner) detail[row * CELLS + column] += Math.abs(data[4 * at + 1] - data[4 * at - 3]); // green
		}
		const best = detail.indexOf(Math.max(...detail));
		return { x: (best % CELLS + 0.5) / CELLS, y: (Math.floor(best / CELLS) + 0.5) / CELLS };
	}

	close() {
		URL.revokeObjectURL(this.url);
	}
}

/** Open a file, as it is now. What no browser shows, HEIC or TIFF, is shown as `convert` makes it. */
export async function openPicture(source, convert, signal) {
	const { name = "cat.webp", type } = source;
	const data = new Uint8Array(await source.arrayBuffer());
	const file = new File([data], name, { type });
	file.alpha = /auxid:1|:alpha/.test(String.fromCharCode(...data.slice(0, 9e3))); // of HEIC
	const ways = [() => shown(file, signal), async () => shown(await convert(file, signal), signal)];
	if (type === "image/webp" && data[15] === 88 && data[20] & 8) ways.reverse(); // EXIF: browsers do not turn it
	return new Picture(file, await ways[0]().catch(ways[1]), await frames({ type, data }).catch(() => 1));
}

/** How many. Rejects where the browser cannot tell. */
async function frames(source) {
	const { tracks } = new ImageDecoder(source);
	await tracks.ready;
	return tracks.selectedTrack.frameCount;
}

/** An image element of a file. Rejects where the browser cannot show it, or the signal is aborted. */
export async function shown(blob, signal) {
	const image = new Image();
	image.src = URL.createObjectURL(blob);
	try {
		await image.decode();
		signal?.throwIfAborted();
	} catch (error) {
		URL.revokeObjectURL(image.src);
		throw signal?.aborted ? error : new Error("This browser cannot show the picture: it may be too large.");
	}
	return image;
}

export function toBlob(canvas, type, quality) {
	return new Promise((resolve, reject) => {
		canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("This picture is too large for this browser."))), type, quality);
	});
}

function drawn(image, source, width, height) {
	const canvas = make("canvas", { width, height });
	const context = canvas.getContext("2d");
	context.imageSmoothingQuality = "high";
	context.fillStyle = "#fff"; // under what is transparent
	context.fillRect(0, 0, width, height);
	context.drawImage(image, ...source, 0, 0, width, height);
	return canvas;
}
