// What leaves the page: files and texts.

import { element, make } from "./dom.js";

const SHOWN = 1500; // milliseconds

export function save(blob, name) {
	const link = make("a", { href: URL.createObjectURL(blob), download: name });
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Copy a text, and say so at the button that asked for it. */
export async function copy(text, button) {
	try {
		await navigator.clipboard.writeText(text);
	} catch { // without HTTPS there is no clipboard but this
		const area = make("textarea", { value: text });
		document.body.append(area);
		area.select();
		document.execCommand("copy");
		area.remove();
		button.focus();
	}
	const say = (word) => { element("copied").textContent = word; button.classList.toggle("copied", Boolean(word)); };
	say("Copied");
	setTimeout(() => say(""), SHOWN);
}
