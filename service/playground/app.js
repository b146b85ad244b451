// The page: builds its parts, and decides what happens when something is chosen.

import { Api } from "./api.js";
import { Crop } from "./crop.js";
import { element, press } from "./dom.js";
import { takePictures } from "./intake.js";
import { keep, kept, newJobId } from "./kept.js";
import { askForKey } from "./key.js";
import { Mask } from "./mask.js";
import { copy, save } from "./output.js";
import { Panel } from "./panel.js";
import { PartPreview } from "./part.js";
import { openPicture, shown } from "./picture.js";
import { Report } from "./report.js";
import { ask, callPath, curl, formatOf, resultName, shownFormat } from "./request.js";
import { estimate, isJob, run } from "./run.js";
import { Served } from "./served.js";
import { fragment, parse } from "./settings.js";
import { Thumbnails } from "./thumbnails.js";
import { Viewer } from "./viewer.js";
import { Welcome } from "./welcome.js";
import { count, fileSize } from "./words.js";

const SOON = 250; // milliseconds without a change
const EAGER_SECONDS = 3; // of work that is done without being asked for
const EAGER_BYTES = 6e6;
const FILE_ONLY = ["format", "quality", "metadata"];
const WORDS = { // on the button, on the picture, in the report
	paint: ["Paint", "Painting", "Painted"], enlarge: ["Enlarge", "Enlarged"], restore: ["Restore", "Restored"],
};
const AGAIN = 4000; // milliseconds; the service may have loaded another network

const { body } = document;
const modes = document.querySelectorAll("button[data-mode]");
const settings = parse(location.hash);
const served = new Served();
const report = new Report();
const api = new Api(askForKey);
const viewer = new Viewer(element("viewer"));
const preview = new PartPreview(api);
const panel = new Panel(settings, changed);
const thumbnails = new Thumbnails(api, element("styles"), {
	onChoose: chooseStyle,
	onPainted: (name, address) => picture || welcome.add(served.style(name)?.title || name, address),
});
const welcome = new Welcome(element("welcome"));
const mask = new Mask(viewer, element("mask"), element("ring"), () => changed("mask"));
const crop = new Crop(viewer, element("frame"), previewPart);

let offered = ""; // the versions that are shown
let picture = null;
let opening = null; // the AbortController of the picture that is shown, or comes
let cat = null; // a promise of the sample, for the styles
let result = null; // { blob, asked, image }
let expected = null; // of /v1/estimate
let working = null; // the AbortController of the work in progress
let changes = 0; // of what is chosen
let looking = new AbortController(); // that of the estimate
let timer = 0;

viewer.onView = () => {
	mask.place();
	crop.place();
	element("zoom-level").value = `${Math.round(viewer.zoom * 100)} %`;
};

// ---- the picture

/** Show a picture, of a file or of a promise of one; whether it is shown. Whoever comes later goes first. */
async function open(file) {
	opening?.abort();
	const { signal } = opening = new AbortController();
	let opened;
	try {
		opened = await openPicture(await file, convert, signal);
	} catch (error) {
		if (signal.aborted) return false;
		opening = null;
		report.fail(error);
		return false;
	}
	giveUp();
	report.fail(null);
	picture?.close();
	picture = opened;
	welcome.stop();
	forgetResult();
	body.classList.remove("empty");
	body.style.setProperty("--ratio", picture.height / picture.width);
	viewer.showPhoto(picture.url, picture, `Your picture ${picture.file.name}`);
	mask.reset(picture);
	crop.of(picture);
	showMode();
	showCurl();
	paintThumbnails();
	decide();
	return true;
}

/** What a browser cannot show, by the service: a painting of no strength is the photograph itself. */
async function convert(file, signal) {
	const [style] = served.styles;
	if (!style) throw new Error("This browser cannot show such a file.");
	const path = callPath({ task: "stylize", style: style.name, query: { strength: 0, size: 64, format: "webp", quality: 90 } });
	return (await api.send(path, { method: "POST", body: file, signal })).blob();
}

async function sample() {
	return (await fetch(new URL("playground/cat.webp", document.baseURI))).blob();
}

const openSample = () => open(sample());

// ---- what is chosen

function chooseStyle(name) {
	settings.style = name;
	if (settings.blend === name) settings.blend = "";
	showStyle();
	if (picture || opening) changed("style");
	else openSample();
}

function chooseMode(mode) {
	settings.mode = mode;
	startOver();
}

/** What is made is another thing. */
function startOver() {
	giveUp();
	stopMasking();
	forgetResult();
	showMode();
	paintThumbnails();
	changed("mode");
}

/** A setting has changed: what is shown follows at once, the service hears of it soon. */
function changed(name) {
	if (name === "scale") settings.network = "";
	if (name === "scale") showNetworks();
	else if (name === "network" || name === "correct") previewPart();
	panel.show(picture);
	history.replaceState(null, "", fragment(settings));
	if (!picture) return;
	report.fail(null);
	showCurl();
	if ((result || working) && FILE_ONLY.includes(name)) return; // the download makes the file anew
	changes += 1;
	if (!working) report.end("idle");
	decide();
}

function showStyle() {
	const style = served.style(settings.style);
	thumbnails.select(settings.style);
	element("style-title").textContent = style?.title || settings.style;
	element("style-by").textContent = "";
	if (!style) return;
	api.json(`v1/models/${encodeURIComponent(style.name)}`).then(({ manifest }) => {
		if (settings.style === style.name) element("style-by").textContent = manifest?.provenance?.style_image || "";
	}).catch(() => {}); // a caption that is missing is no failure
}

function words() {
	return WORDS[!painting() && settings.scale === 1 ? "restore" : settings.mode];
}

function painting() {
	return settings.mode === "paint";
}

function showNetworks() {
	const networks = served.networksOf(settings.scale);
	if (settings.scale === 1) settings.network ||= networks[0]?.name ?? ""; // none runs unnamed
	panel.offerNetworks(networks);
	[element("run").textContent, element("made").textContent] = words();
	crop.scale = settings.scale;
	crop.place();
	previewPart();
}

function showMode() {
	body.dataset.mode = settings.mode;
	press(modes, ({ dataset }) => dataset.mode === settings.mode);
	showTool();
	panel.show(picture);
	showNetworks();
}

/** What the pointer does on the picture: it brushes, or moves the frame as long as nothing is enlarged. */
function showTool() {
	const masking = body.classList.contains("masking");
	element("mask-toggle").lastElementChild.textContent = masking ? "Done" : mask.empty ? "Paint only a part" : "Change the part";
	viewer.tool = masking ? mask : !painting() && !result ? crop : null;
	viewer.onView();
}

function toggleMasking() {
	const masking = body.classList.toggle("masking");
	element("mask-toggle").setAttribute("aria-pressed", String(masking));
	element("mask-tools").hidden = !masking;
	showTool();
	if (masking) element("viewer").focus({ preventScroll: true });
	else changed("mask");
}

function stopMasking() {
	if (body.classList.contains("masking")) toggleMasking();
}

// ---- the work

/** What would be asked of the service, for the screen or for a file. */
function asked(format) {
	return ask(settings, picture, format, !mask.empty && painting());
}

/** Soon: ask what it would cost, and do it where that is little. */
function decide() {
	clearTimeout(timer);
	timer = setTimeout(look, SOON);
}

async function look() {
	looking.abort();
	looking = new AbortController();
	const { signal } = looking;
	try {
		expected = await estimate(api, asked(shownFormat(settings, picture.file)), picture, signal);
	} catch (error) {
		if (signal.aborted) return;
		report.expect(expected = null);
		report.fail(error);
		return;
	}
	if (signal.aborted) return;
	report.expect(expected, isJob(settings.delivery, expected));
	if (isEager()) work();
}

function isEager() {
	if (!painting() || settings.delivery !== "auto" || !expected.accepted) return false;
	if (!settings.style || body.classList.contains("masking")) return false;
	return expected.queue_seconds + expected.infer_seconds < EAGER_SECONDS && picture.file.size < EAGER_BYTES;
}

/** Do what is chosen, or go on with a job, instead of what is being done. */
async function work(job) {
	clearTimeout(timer);
	const made = await perform(job?.asked ?? asked(shownFormat(settings, picture.file)), true, job?.id);
	if (!made) return;
	const size = { width: made.image.naturalWidth, height: made.image.naturalHeight };
	forgetResult();
	result = made;
	viewer.showResult(made.image.src, size, element("made").textContent);
	showTool();
	showCurl();
	report.finish(made, size, words().at(-1), ended());
}

function ended() {
	return result?.at === changes ? "done" : "idle";
}

/** The result of a request, with an image if it `isShown`; null where it failed or was given up. */
async function perform(request, isShown, resumed) {
	working?.abort();
	const controller = working = new AbortController();
	const at = changes;
	const { signal } = controller;
	const jobId = resumed ?? (isJob(settings.delivery, expected) && newJobId());
	const { file } = picture;
	report.begin(jobId);
	try {
		const isMasked = request.task === "stylize" && !mask.empty;
		const strokes = isMasked && mask.strokes;
		const brushed = isMasked && await mask.file();
		if (jobId && isShown) keep({ id: jobId, asked: request, file, strokes }).catch(() => {});
		const done = await run(api, request, {
			file, mask: brushed, jobId, resumed, signal,
			onStatus: (status) => signal.aborted || report.follow(status),
			onWait: (problem) => signal.aborted || report.wait(problem),
		});
		return { ...done, asked: request, image: isShown && await shown(done.blob, signal), jobId, at };
	} catch (error) {
		if (signal.aborted) return null;
		report.end(ended());
		report.fail(error);
		return null;
	} finally {
		if (working === controller) working = null;
	}
}

/** Go on with the job that this tab had before it was loaded again. */
async function resume() {
	const job = await kept().catch(() => null);
	if (!job || opening || !await open(job.file)) return;
	if (job.strokes) mask.strokes = job.strokes;
	work(job);
}

/** End what is being done and asked, which is no news. */
function giveUp() {
	clearTimeout(timer);
	looking.abort();
	working?.abort();
	working = null;
}

function cancel() {
	giveUp();
	report.end(ended(), "Cancelled.");
}

function forgetResult() {
	if (result) URL.revokeObjectURL(result.image.src);
	result = null;
	report.end("idle");
	if (picture) viewer.clearResult(picture);
}

/** The file as it is chosen. The service makes it where another one is shown. */
async function download() {
	const wanted = asked(formatOf(settings, picture.file));
	const same = (made) => JSON.stringify(made?.asked) === JSON.stringify(wanted);
	let made = [result, result.other].find(same);
	if (!made) {
		const shownNow = result;
		made = await perform(wanted);
		if (!made) return;
		shownNow.other = made;
	}
	const name = resultName(picture.file.name, wanted);
	save(made.blob, name);
	report.end(ended(), `Saved as ${name}, ${fileSize(made.blob.size)}.`);
}

/** What the network makes of the part in the frame. */
function previewPart() {
	if (picture && !painting()) preview.show(picture, crop.part, asked("png"));
}

// ---- links and keys

function showCurl() {
	const format = formatOf(settings, picture.file);
	const options = {
		name: picture.file.name, hasMask: painting() && !mask.empty, hasKey: Boolean(api.key), jobId: result?.jobId,
	};
	element("curl").textContent = curl(asked(format), options);
}

async function changeKey() {
	const key = await askForKey("Another key, from now on.");
	if (!key) return;
	api.key = key;
	load();
}

// ---- the beginning

/** What the service offers; asked again as long as it changes, and when somebody comes back. */
async function load() {
	let models;
	try {
		({ models } = await api.json("v1/models", { tries: 4 }));
	} catch (error) {
		offered = "";
		report.fail(error);
		return;
	}
	const versions = JSON.stringify(models.map(({ digest }) => digest));
	if (versions === offered) return;
	offered = versions;
	report.fail(null);
	setTimeout(load, AGAIN);
	const { documentation } = await api.json("./", { headers: { Accept: "application/json" } }).catch(() => ({}));
	element("docs").hidden = !documentation;
	served.take(models);
	served.settle(settings);
	offer();
}

function offer() {
	thumbnails.showStyles(served.styles);
	panel.offer(served.styles, served.scales);
	showStyle();
	showMode();
	if (!picture) resume();
	else if (!working) decide();
	paintThumbnails();
}

/** In every style: the picture, or a cat as long as there is none. */
async function paintThumbnails() {
	thumbnails.stop();
	if (picture && !painting()) return;
	const whose = picture ? "each painted from your picture" : "and what they make of this cat";
	const { length } = served.styles;
	element("styles-title").textContent = length ? `${count(length, "style")}, ${whose}` : "No styles are served here, yet";
	if (!length) return;
	const painted = picture ?? await (cat ??= sample().then((file) => openPicture(file)));
	if (!picture || painted === picture) await thumbnails.paint(painted);
}

function listen() {
	const actions = {
		sample: openSample, run: () => work(), cancel, download, key: changeKey,
		"copy-link": ({ currentTarget }) => copy(new URL(fragment(settings), location.href).href, currentTarget),
		"copy-curl": ({ currentTarget }) => copy(element("curl").textContent, currentTarget),
		"mask-toggle": toggleMasking, "mask-invert": () => mask.invert(), "mask-clear": () => mask.clear(),
		"mask-save": async () => save(await mask.file(), "mask.png"),
		"zoom-in": () => viewer.zoomBy(1.5), "zoom-out": () => viewer.zoomBy(1 / 1.5),
		"zoom-fit": () => viewer.fit(), "zoom-actual": () => viewer.actual(),
	};
	for (const [id, act] of Object.entries(actions)) element(id).addEventListener("click", act);
	for (const button of modes) button.addEventListener("click", () => chooseMode(button.dataset.mode));
	takePictures(open, () => report.fail(new Error("That is no picture: JPEG, PNG, WebP, AVIF, HEIC, JPEG XL, TIFF, GIF or BMP.")));
	listenToBrush();
	listenToPage();
}

function listenToBrush() {
	element("brush").addEventListener("input", ({ target }) => { mask.brush = target.value / 100; mask.placeRing(); });
	const brushes = document.querySelectorAll("[data-erases]");
	for (const button of brushes) button.addEventListener("click", () => {
		mask.erases = Boolean(button.dataset.erases);
		press(brushes, (each) => each === button);
	});
}

function listenToPage() {
	addEventListener("focus", load);
	addEventListener("hashchange", () => {
		Object.assign(settings, parse(location.hash));
		served.settle(settings);
		showStyle();
		startOver();
	});
}

listen();
showMode();
load();
