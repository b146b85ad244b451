// Large work in the background: begun under an id of our own, watched by its tiles, cancelled where nobody wants it.

import { isAbort, pause } from "./api.js";
import { jobPath } from "./request.js";

const POLL = 0.5; // seconds
const PATIENCE = 20; // refusals in a row of a busy service

/** A name that nobody guesses. crypto.randomUUID is missing where a page does not come by HTTPS. */
export function newJobId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** The result of a job and its last status. `onStatus(status)` hears how far it is. It is deleted in the end. */
export async function runJob(api, id, asked, body, { signal, onStatus, onWait }) {
  const patient = { signal, onWait, tries: PATIENCE };
  const place = `v1/jobs/${id}`;
  try {
    let status = await api.json(jobPath(id, asked), { method: "PUT", body, ...patient });
    while (status.finished === null) {
      onStatus(status);
      await pause(POLL, signal);
      status = await api.json(place, patient);
    }
    const answer = await api.send(`${place}/result`, patient);
    return { status, blob: await answer.blob(), headers: answer.headers };
  } finally {
    api.send(place, { method: "DELETE", keepalive: true }).catch((error) => isAbort(error));
  }
}
