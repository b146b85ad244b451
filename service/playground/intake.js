// How a picture gets onto the page: chosen, photographed, dropped, pasted.

import { element } from "./dom.js";

const NAMES = /\.(heic|heif|jxl|tiff?|avif)$/i; // files whose type not every browser knows

/** `onFile(file)` gets every picture, `onOther()` hears of files that are none. */
export function takePictures(onFile, onOther) {
	const take = (files) => {
		const picture = [...files].find(({ type, name }) => type.startsWith("image/") || NAMES.test(name));
		if (picture) onFile(picture);
		else if (files.length) onOther();
	};
	for (const id of ["choose", "open"]) element(id).addEventListener("click", () => element("file").click());
	element("capture").addEventListener("click", () => element("camera").click());
	for (const id of ["file", "camera"]) element(id).addEventListener("change", ({ target }) => {
		take(target.files);
		target.value = ""; // so that the same file can be chosen again
	});
	document.addEventListener("paste", ({ clipboardData }) => take(clipboardData?.files ?? []));
	takeDrops(take);
}

function takeDrops(take) {
	const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
	const mark = (over) => document.body.classList.toggle("dropping", over);
	document.addEventListener("dragover", (event) => {
		if (!hasFiles(event)) return;
		event.preventDefault();
		mark(true);
	});
	document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || mark(false));
	document.addEventListener("drop", (event) => {
		if (!hasFiles(event)) return;
		event.preventDefault();
		mark(false);
		take(event.dataTransfer.files);
	});
}
