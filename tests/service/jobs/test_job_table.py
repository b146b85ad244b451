from pathlib import Path

import pytest

from service.errors import TooManyJobs
from service.jobs.manager import JobManager
from tests.service.jobs.test_manager import put, with_queue


def test_no_more_jobs_are_accepted_than_the_settings_say(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        jobs = [(await put(queue, name))[0] for name in ("one", "two")]
        with pytest.raises(TooManyJobs) as refused:
            await put(queue, "three")
        assert refused.value.retry_after == 5
        for job in jobs:
            await job.ended.wait()
        assert (await put(queue, "three"))[1]

    with_queue(tmp_path / "store", scenario, max_jobs=2, max_running_jobs=1)
