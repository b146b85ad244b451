// Numbers as people read them.

/** Seconds: "80 ms", "1.4 s", "2 min 5 s". */
export function duration(seconds) {
	if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
	if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
	if (seconds < 90) return `${Math.round(seconds)} s`;
	return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** Bytes: "24 kB", "3.1 MB". */
export function fileSize(bytes) {
	if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
	return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Width and height in pixels: "1200 × 800". */
export function sides({ width, height }) {
	return `${width} × ${height}`;
}

/** "1 tile", "12 tiles". */
export function count(number, noun) {
	return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
