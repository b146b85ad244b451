// The job of this tab and its picture, kept for a reload.

const KEY = "pastiche-job";

/** A name that nobody guesses and that sorts by time. Without HTTPS there is no crypto.randomUUID. */
export function newJobId(time = Date.now()) {
	return `page-${time}-${crypto.getRandomValues(new Uint32Array(3)).join("-")}`;
}

/** Remember a job: `id`, `asked`, `file`, and the `strokes` of its mask. */
export async function keep(job) {
	await use((jobs) => jobs.put(job, job.id));
	sessionStorage.setItem(KEY, job.id);
}

export async function forget(id) {
	sessionStorage.removeItem(KEY);
	await use((jobs) => jobs.delete(id));
}

/** The job that this tab had before it was loaded again. Those of a day ago are forgotten. */
export async function kept() {
	const id = sessionStorage.getItem(KEY);
	await use((jobs) => jobs.delete(IDBKeyRange.upperBound(newJobId(Date.now() - 864e5))));
	return id && use((jobs) => jobs.get(id));
}

function use(act) {
	return new Promise((resolve, reject) => {
		const opening = indexedDB.open(KEY);
		opening.onerror = () => reject(opening.error);
		opening.onupgradeneeded = () => opening.result.createObjectStore(KEY);
		opening.onsuccess = () => {
			const asked = act(opening.result.transaction(KEY, "readwrite").objectStore(KEY));
			asked.onsuccess = () => resolve(asked.result);
			asked.onerror = () => reject(asked.error);
		};
	});
}
