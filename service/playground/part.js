// The preview of an enlargement: the part in the frame, before and after.

import { element } from "./dom.js";
import { shown } from "./picture.js";
import { callPath } from "./request.js";
import { Viewer } from "./viewer.js";

const TRIES = 4;

export class PartPreview {
	#showing = new AbortController();

	constructor(api) {
		this.api = api;
		this.viewer = new Viewer(element("preview"));
		this.note = element("preview-note");
	}

	/** Enlarge a part of a picture as `asked` has it for all of it. Whoever comes later goes first. */
	async show(picture, part, { task, scale, query: { width: _, ...query } }) {
		this.#showing.abort();
		const { signal } = this.#showing = new AbortController();
		this.viewer.root.classList.add("busy");
		const pair = [];
		try {
			const body = await picture.part(part);
			const path = callPath({ task, scale, query });
			const answer = await this.api.send(path, { method: "POST", body, signal, tries: TRIES });
			for (const blob of [body, await answer.blob()]) pair.push(await shown(blob, signal));
			this.#lay(...pair);
			this.note.textContent = `${part.width} × ${part.height} of your pixels, by ${answer.headers.get("X-Model").replaceAll("@", " v")}. Move the frame to see others.`;
		} catch (error) {
			for (const { src } of pair) URL.revokeObjectURL(src);
			if (!signal.aborted) this.note.textContent = error.message;
		} finally {
			if (!signal.aborted) this.viewer.root.classList.remove("busy");
		}
	}

	#lay(before, after) {
		const { viewer } = this;
		const size = { width: after.naturalWidth, height: after.naturalHeight };
		for (const old of [viewer.before.src, viewer.after.src]) if (old) URL.revokeObjectURL(old);
		viewer.showPhoto(before.src, size, "A part of your picture");
		viewer.showResult(after.src, size, "The part, enlarged");
	}
}
