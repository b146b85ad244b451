// Short forms for the elements of the page.

export const element = (id) => document.getElementById(id);

/** A new element with these properties and children. */
export function make(tag, properties = {}, ...children) {
	const made = Object.assign(document.createElement(tag), properties);
	made.append(...children);
	return made;
}

/** Put an element where `Viewer.place` says. */
export function lay({ style }, { left, top, width, height }) {
	Object.assign(style, { width: `${width}px`, height: `${height}px`, transform: `translate(${left}px, ${top}px)` });
}

/** Mark the one of some buttons that is chosen. */
export function press(buttons, isChosen) {
	for (const button of buttons) button.setAttribute("aria-pressed", String(isChosen(button)));
}
