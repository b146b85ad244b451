// Calls of the service. Paths are relative to the page, which holds under any prefix.

const KEY = "pastiche-key";
const LOST = [0, 502]; // a network that changes, a service that starts again
const SILENCE = { title: "No answer", detail: "The service cannot be reached. Is it running?" };

/** A call that failed: `message` is the problem's detail (RFC 9457), `status` 0 where nothing answered. */
export class Problem extends Error {
	constructor(status, body = {}, retryAfter = null) {
		super(body.detail || `The service answered ${status} without a word.`);
		this.status = status;
		this.title = body.title || "That did not work";
		this.instance = body.instance || "";
		this.retryAfter = retryAfter;
	}
}

/** The signal ends it early, with an AbortError. */
export function pause(seconds, signal) {
	return new Promise((resolve, reject) => {
		signal?.throwIfAborted();
		const stop = () => { clearTimeout(timer); reject(signal.reason); };
		const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, seconds * 1000);
		signal?.addEventListener("abort", stop, { once: true });
	});
}

export class Api {
	#askForKey;
	#asking = null;
	#key = "";
	#declined = null; // the key instead of which somebody had no other

	/** `askForKey(detail)`: a promise of a key, or of null. */
	constructor(askForKey) {
		this.#askForKey = askForKey;
		try {
			this.#key = sessionStorage.getItem(KEY) || "";
		} catch {} // Forbidden: a key holds for this visit.
	}

	/** The API key of this tab, kept in its session; empty where none was needed. */
	get key() {
		return this.#key;
	}

	set key(value) {
		this.#key = value;
		try {
			sessionStorage.setItem(KEY, value);
		} catch {}
	}

	/**
	 * The response to a call that succeeded; any other is a Problem.
	 *
	 * It is asked again when it says, or soon where it is gone and nothing was sent, `tries` times at most;
	 * `onWait(problem)` hears of each pause.
	 */
	async send(path, { tries = 1, onWait = () => {}, signal, ...init } = {}) {
		for (let attempt = 1; ; attempt += 1) {
			const { key } = this;
			const answer = await this.#fetch(path, { ...init, key, signal });
			if (answer.ok && !/html/.test(answer.headers.get("Content-Type"))) return answer;
			const problem = await asProblem(answer);
			if (answer.status === 401 && await this.#newKey(key, problem.message)) continue;
			if (!init.body && LOST.includes(answer.status)) problem.retryAfter ??= 3;
			if (problem.retryAfter === null || attempt >= tries) throw problem;
			onWait(problem);
			await pause(problem.retryAfter, signal);
		}
	}

	async json(path, init) {
		return (await this.send(path, init)).json();
	}

	async #fetch(path, { headers = {}, key, ...init }) {
		const sent = key ? { ...headers, "X-API-Key": key.replace(/[^ -~]/g, "?") } : headers; // a header is ASCII
		try {
			return await fetch(new URL(path, document.baseURI), { ...init, headers: sent });
		} catch {
			init.signal?.throwIfAborted();
			return Response.error();
		}
	}

	/** Ask for a key once, however many calls lack one; whether there is another than the refused one. */
	async #newKey(refused, detail) {
		if (this.key !== refused) return true;
		if (this.#declined === refused) return false;
		this.#asking ??= this.#askForKey(detail).finally(() => { this.#asking = null; });
		const key = await this.#asking;
		if (key) this.key = key;
		else this.#declined = refused;
		return Boolean(key);
	}
}

async function asProblem(answer) {
	const body = (await answer.json().catch(() => null)) || {};
	const seconds = Number(answer.headers.get("Retry-After"));
	const retryAfter = answer.headers.has("Retry-After") ? Math.max(seconds || 1, 0.5) : null;
	return new Problem(answer.status, answer.status ? body : SILENCE, retryAfter);
}
