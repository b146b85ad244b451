// The dialog for an API key, which opens only where the service asks for one.

import { element } from "./dom.js";

/** A promise of a key, or of null where somebody has none. `detail` says why it is asked for. */
export function askForKey(detail) {
	const [dialog, input] = [element("key-dialog"), element("key-input")];
	element("key-detail").textContent = detail;
	element("key").hidden = false;
	input.value = dialog.returnValue = "";
	element("key-form").onsubmit = (event) => {
		event.preventDefault();
		dialog.close(input.value.trim());
	};
	element("key-cancel").onclick = () => dialog.close();
	dialog.showModal();
	return new Promise((resolve) => { dialog.onclose = () => resolve(dialog.returnValue || null); });
}
