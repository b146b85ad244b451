// Large work in the background: begun under an id of our own, watched by its tiles, cancelled.

import { pause } from "./api.js";
import { forget } from "./kept.js";
import { jobPath } from "./request.js";

const POLL = 0.5; // seconds
const PATIENCE = 20; // refusals in a row of a busy service

let leaving = false; // for another page, or for this one again: jobs go on
for (const name of ["pagehide", "pageshow"]) addEventListener(name, () => { leaving = name === "pagehide"; });

/**
 * The result of a job, which is deleted, and its last status. `onStatus(status)` hears how far it is.
 *
 * One that is `resumed` goes on, or begins anew where the service does not know it.
 */
export async function runJob(api, id, asked, body, { resumed, signal, onStatus, onWait }) {
	const patient = { signal, onWait, tries: PATIENCE };
	const place = `v1/jobs/${id}`;
	try {
		const begin = () => api.json(jobPath(id, asked), { method: "PUT", body, ...patient });
		const again = (error) => { if (error.status !== 404) throw error; return begin(); };
		let status = await (resumed ? api.json(place, patient).catch(again) : begin());
		while (status.finished === null) {
			onStatus(status);
			await pause(POLL, signal);
			status = await api.json(place, patient);
		}
		const answer = await api.send(`${place}/result`, patient);
		return { status, blob: await answer.blob(), headers: answer.headers };
	} finally {
		if (!leaving) Promise.all([forget(id), api.send(place, { method: "DELETE", keepalive: true })]).catch(() => {});
	}
}
