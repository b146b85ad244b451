// What the page says of the work: before, meanwhile and after it.

import { element, make } from "./dom.js";
import { count, duration, fileSize, sides } from "./words.js";

const NAMES = {
	read: "reading", assess: "looking", decode: "decoding", queue: "waiting", shared: "with others", infer: "network", encode: "encoding",
	way: "on the way",
};

export class Report {
	/** What /v1/estimate answered. */
	expect(estimate, asJob) {
		element("estimate").textContent = estimate ? expectation(estimate, asJob) : "";
	}

	begin(asJob) {
		this.#state("busy");
		this.fail(null);
		this.say(asJob ? "Sending the job…" : "Working…");
		this.first = null;
		if (asJob) this.#progress(null);
	}

	/** The state of a job. */
	follow({ state, progress: { tiles, done } }) {
		const running = state === "running" && tiles > 0;
		this.#progress(running ? done / tiles : null);
		if (running && done === tiles) this.say(`All ${count(tiles, "tile")} done, writing the file…`);
		else if (running) this.say(`${done} of ${count(tiles, "tile")}${this.#left(tiles, done)}`, "off");
		else this.say(state === "queued" ? "The job waits for others before it." : "The job has begun.");
	}

	wait({ title, retryAfter }) {
		this.say(`${title}. This page asks again in ${duration(retryAfter)}.`);
	}

	/** Aloud, for who cannot see it, unless it changes all the time. */
	say(text, ariaLive = "polite") {
		Object.assign(element("status"), { ariaLive, textContent: text });
	}

	/** What came out. */
	finish({ blob, stages, total, models, reason }, size, verb, state) {
		this.end(state, `${verb} in ${duration(total)}: ${sides(size)}, ${fileSize(blob.size)}. ${models.replaceAll("@", " v")}${reason && `: ${reason}`}`);
		const parts = Object.keys(NAMES).filter((name) => stages[name] > 0.0005);
		element("stages").replaceChildren(...parts.map((name) => {
			const part = make("i", { className: name });
			part.style.flexGrow = stages[name];
			return part;
		}));
		element("legend").replaceChildren(...parts.map((name) => (
			make("li", {}, make("i", { className: name }), `${NAMES[name]} ${duration(stages[name])}`)
		)));
	}

	/** Nothing is in progress; `done` where a result is as the settings want it, else `idle`. */
	end(state, text = "") {
		this.#state(state);
		this.say(text);
		element("progress").hidden = true;
	}

	/** A problem in words; null clears it. */
	fail(error) {
		const box = element("problem");
		box.replaceChildren();
		if (!error) return;
		box.append(make("strong", {}, error.title || "That did not work"), make("p", {}, error.message));
		if (error.instance) box.append(make("p", { className: "small" }, `Request ${error.instance}`));
	}

	/** Which buttons there are: to begin (idle), to cancel (busy), to download (done). */
	#state(state) {
		document.body.dataset.state = state;
	}

	/** How long the other tiles will take, by those that the page saw done. */
	#left(tiles, done) {
		this.first ??= { done, at: performance.now() };
		const pace = (performance.now() - this.first.at) / 1000 / (done - this.first.done);
		return Number.isFinite(pace) ? `, about ${duration(pace * (tiles - done))} left` : "";
	}

	/** A share of the tiles, or null where it is not known. */
	#progress(share) {
		const bar = element("progress");
		bar.hidden = false;
		bar.classList.toggle("unknown", share === null);
		bar.style.setProperty("--done", `${100 * (share ?? 0)}%`);
		if (share === null) bar.removeAttribute("aria-valuenow");
		else bar.setAttribute("aria-valuenow", Math.round(100 * share));
	}
}

function expectation({ accepted, problem, output, tiles, queue_seconds: queue, infer_seconds: infer }, asJob) {
	if (!accepted && !(asJob && problem.status === 503)) return `It would be refused now: ${problem.detail}`;
	if (!accepted) return "The service is busy. As a job it waits for its turn.";
	const before = queue > 0.05 ? `${duration(queue)} behind others` : "nobody waits before you";
	const manner = asJob ? ", as a job" : "";
	return `${sides(output)}, about ${duration(infer)} for the network${manner}. ${count(tiles, "tile")}, ${before}.`;
}
