// From what is chosen to the request, and to the line of curl that does the same.

export const WRITTEN = { jpeg: "jpg", png: "png", webp: "webp", avif: "avif", tiff: "tif", gif: "gif" };
export const LOSSY = ["jpeg", "webp", "avif"];

/** Of the answer: if none is chosen, the photograph's or a close one. */
export function formatOf(settings, file) {
	if (settings.format) return settings.format;
	const kind = (file.type || file.name).replace(/^image.|.*\./, "").toLowerCase().replace(/^tif$/, "tiff");
	if (WRITTEN[kind]) return kind;
	return /^hei/.test(kind) && !file.alpha ? "jpeg" : "png";
}

/** For the screen: TIFF is shown as PNG. */
export function shownFormat(settings, file) {
	const format = formatOf(settings, file);
	return format === "tiff" ? "png" : format;
}

/** The expression of a style or of two, mixed: `great-wave:0.7,udnie:0.3`. */
function styleExpression({ style, blend, share }) {
	if (!blend || blend === style) return style;
	return `${style}:${(100 - share) / 100},${blend}:${share / 100}`;
}

/** What is asked of the service: the task, its subject, and the query, whose values have their types. */
export function ask(settings, picture, format, hasMask = false) {
	const query = settings.mode === "paint" ? paintQuery(settings, picture, hasMask) : enlargeQuery(settings, picture);
	query.format = format;
	if (LOSSY.includes(format)) query.quality = settings.quality;
	if (settings.metadata !== "strip") query.metadata = settings.metadata;
	if (settings.mode === "paint") return { task: "stylize", style: styleExpression(settings), query };
	return { task: "upscale", scale: settings.scale, query };
}

/** The longest side of a painting, or "native". Of a panorama the shorter one counts, twice. */
export function paintedSize(stroke, { width, height }) {
	const longest = Math.max(width, height);
	const size = Math.round(stroke * Math.max(1, longest / Math.min(width, height) / 2));
	return size < longest ? size : "native";
}

function paintQuery(settings, picture, hasMask) {
	const query = { size: paintedSize(settings.stroke, picture) };
	if (settings.strength !== 100) query.strength = settings.strength / 100;
	if (settings.colour) query.preserve_color = true;
	if (settings.side) query.output_size = settings.side;
	if (hasMask && settings.feather) query.feather = settings.feather;
	return query;
}

function enlargeQuery(settings, picture) {
	const query = {};
	if (settings.network) query.model = settings.network;
	if (!settings.correct) query.back_projection = false;
	if (settings.width && settings.width < picture.width * settings.scale) query.width = settings.width;
	return query;
}

/** The path and query of a call that answers at once. */
export function callPath({ task, style, scale, query }) {
	return `v1/${task}/${task === "stylize" ? encodeURI(style) : scale}${queryText(query)}`;
}

/** The path and query of a job. */
export function jobPath(id, { task, style, scale, query }) {
	return `v1/jobs/${id}${queryText({ ...(task === "stylize" ? { style } : { scale }), ...query })}`;
}

/** The body of a call: the file, or a form with the mask. */
export function body(file, mask) {
	if (!mask) return file;
	const form = new FormData();
	form.append("image", file);
	form.append("mask", mask, "mask.png");
	return form;
}

/** `cat-great-wave.jpg`. */
export function resultName(name, { task, style, scale, query }) {
	const stem = name.replace(/\.[^.]*$/, "") || "picture";
	const made = task === "stylize" ? style.replace(/:[\d.]+/g, "").replace(",", "-") : `x${scale}`;
	return `${stem}-${made}.${WRITTEN[query.format]}`;
}

/** Lines of curl that do the same. A key is a variable of the shell, never told. */
export function curl(asked, { name, hasMask, hasKey, jobId }) {
	const key = hasKey ? ` -H "X-API-Key: $PASTICHE_KEY"` : "";
	const source = hasMask ? `-F image=@${quote(/[;,]/.test(name) ? JSON.stringify(name) : name)} -F mask=@mask.png` : `--data-binary @${quote(name)}`;
	const address = (path) => `'${new URL(path, document.baseURI).href.replace(/'/g, "%27")}'`;
	const output = `-o ${quote(resultName(name, asked))}`;
	if (!jobId) return `curl${key} ${source} ${address(callPath(asked))} ${output}`;
	const begin = `curl${key} -X PUT ${source} ${address(jobPath(jobId, asked))}`;
	return `${begin}\ncurl${key} ${address(`v1/jobs/${jobId}/result`)} ${output}  # as soon as it is done`;
}

function queryText(query) {
	const text = new URLSearchParams(query).toString();
	return text && `?${text}`;
}

/** For a shell. */
function quote(text) {
	return /^[\w.-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`;
}
