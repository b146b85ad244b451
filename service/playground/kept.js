// The job of this tab and its picture, kept in this browser for a reload.

const KEY = "pastiche-job";

/** Remember a job: `id`, `asked`, `file`, `name`. */
export async function keep(job) {
	await use((jobs) => jobs.put(job, job.id));
	sessionStorage.setItem(KEY, job.id);
}

export async function forget(id) {
	sessionStorage.removeItem(KEY);
	await use((jobs) => jobs.delete(id));
}

/** The job that this tab had before it was loaded again. A tab without one forgets those of tabs that were closed. */
export async function kept() {
	const id = sessionStorage.getItem(KEY);
	return use((jobs) => (id ? jobs.get(id) : jobs.clear()));
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
