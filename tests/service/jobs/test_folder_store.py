"""What the folder job store promises beside tests/service/jobs/test_store.py."""

import asyncio
from pathlib import Path

import pytest

from service.errors import JobsUnavailable
from service.jobs.folder import JobFolder
from tests.service.jobs.stores import FILES, SUCCESS, Bench, owned


def test_folder_of_another_process_is_taken_over_when_that_ends(tmp_path: Path) -> None:
    other = JobFolder(tmp_path / "jobs")
    other.open()
    other.create(owned("one"), FILES)

    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        store = bench.folder_store()
        await store.open()
        assert bench.trouble_of(store)
        for call in (store.find("one"), store.create(owned("two"), FILES)):
            with pytest.raises(JobsUnavailable, match="cannot be used") as refused:
                await call
            assert refused.value.retry_after == 60
        other.close()
        await store.sweep()
        assert not bench.trouble_of(store)
        assert await store.find("one") is not None
        await store.close()

    asyncio.run(scenario())


def test_folder_appears_with_the_first_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        assert await store.find("one") is None
        assert not (tmp_path / "jobs").exists()
        await store.create(owned("one"), FILES)
        assert (tmp_path / "jobs" / "one").exists()
        await store.close()

    asyncio.run(scenario())


def test_result_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        await store.create(owned("one"), FILES)
        claim = await store.claim_run()
        assert claim is not None
        (tmp_path / "jobs").rename(tmp_path / "elsewhere")
        outcome = await store.finish(claim, SUCCESS, b"painted")
        assert outcome.failure is not None
        assert outcome.failure.kind == "jobs-unavailable"
        await store.close()

    asyncio.run(scenario())
