// One piece of work: at once or as a job, as fits it, with its timings.

import { runJob } from "./jobs.js";
import { body, callPath } from "./request.js";

const JOB_SECONDS = 4; // of predicted work, from which on it is a job
const TRIES = 6;

/** What the service expects of it: seconds, tiles, size, or why it would refuse. No mask counts. */
export function estimate(api, { query: { feather: _, ...options }, ...subject }, { width, height, frames }, signal) {
	const sent = JSON.stringify({ ...subject, width, height, frames, options });
	return api.json("v1/estimate", { method: "POST", body: sent, headers: { "Content-Type": "application/json" }, signal });
}

/** Whether it becomes a job, as does what would be refused now for want of room or time: jobs wait. */
export function isJob(delivery, expected) {
	if (delivery !== "auto" || !expected) return delivery === "job";
	if (!expected.accepted) return expected.problem.status === 503;
	return expected.queue_seconds + expected.infer_seconds > JOB_SECONDS;
}

/**
 * The result: `blob`, `stages` (seconds by name, with the way), `models`, `reason` (of that choice), `total` seconds.
 *
 * `onStatus` hears of a job's states, `onWait` of pauses because the service is busy.
 */
export async function run(api, asked, { file, mask, jobId, ...how }) {
	const began = performance.now();
	const sent = body(file, mask);
	const done = await (jobId ? runJob(api, jobId, asked, sent, how) : direct(api, asked, sent, how));
	const total = (performance.now() - began) / 1000;
	const [models, reason] = ["X-Model", "X-Model-Reason"].map((name) => done.headers.get(name) || "");
	return { blob: done.blob, stages: withWay(done.stages ?? done.status.result.seconds, total), models, reason, total };
}

async function direct(api, asked, sent, { signal, onWait }) {
	const answer = await api.send(callPath(asked), { method: "POST", body: sent, signal, onWait, tries: TRIES });
	return { headers: answer.headers, stages: serverTiming(answer.headers.get("Server-Timing")), blob: await answer.blob() };
}

/** Seconds by stage of `read;dur=0.8, decode;dur=8.8`, which are milliseconds. */
function serverTiming(text) {
	const entries = [...(text || "").matchAll(/([\w-]+);dur=([\d.]+)/g)];
	return Object.fromEntries(entries.map(([, name, milliseconds]) => [name, milliseconds / 1000]));
}

/** What no stage accounts for: the network, and waiting between two looks at a job. */
function withWay(stages, total) {
	const known = Object.values(stages).reduce((sum, seconds) => sum + seconds, 0);
	return { ...stages, way: Math.max(0, total - known) };
}
