import asyncio
from pathlib import Path

import httpx
import pytest

from client.async_client import AsyncClient
from client.batch import Batch, BatchCounts
from client.files import Item
from client.request import Request
from client.retries import RetryPolicy
from tests.service.imaging.images import file, photo


def run(
    items: list[Item],
    *,
    overwrite: bool = False,
    unavailable: bool = False,
    keyless: httpx.Response | None = None,
    sent: list[httpx.Request] | None = None,
) -> BatchCounts:
    """Send items to a service that returns a PNG for a PNG, refuses everything else, or cannot be reached.

    `keyless`: its answer to requests without a key, as these are. Every request is added to `sent`.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        if sent is not None:
            sent.append(request)
        if "Authorization" not in request.headers and keyless is not None:
            return keyless
        if unavailable:
            raise httpx.ConnectError("refused")
        if request.content.startswith(b"\x89PNG"):
            return httpx.Response(200, content=request.content, headers={"Content-Type": "image/png"})
        return httpx.Response(415, json={"type": "/problems/unsupported-image", "detail": "no image"})

    async def send() -> BatchCounts:
        transport = httpx.MockTransport(answer)
        async with AsyncClient("http://here", transport=transport) as client:
            policy = RetryPolicy(patience=0)
            batch = Batch(client, Request("POST", "/x"), policy, parallel=2, overwrite=overwrite, quiet=True)
            return await batch.run(items)

    return asyncio.run(send())


def items_in(folder: Path, *contents: bytes) -> list[Item]:
    items = []
    for number, content in enumerate(contents):
        source = folder / f"{number}.png"
        source.write_bytes(content)
        items.append(Item(source, folder / "out" / str(number)))
    return items


def test_broken_image_fails_alone(tmp_path: Path) -> None:
    counts = run(items_in(tmp_path, file(photo()), b"text", file(photo(1))))
    assert (counts.written, counts.failed, counts.complete) == (2, 1, False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png"]


def test_existing_result_is_skipped_unless_overwritten(tmp_path: Path) -> None:
    items = items_in(tmp_path, file(photo()), file(photo(1)))
    assert run(items).written == 2
    again = run(items)
    assert (again.written, again.skipped, again.complete) == (0, 2, True)
    assert run(items, overwrite=True).written == 2


def test_a_result_that_cannot_be_written_is_a_failure_and_the_image_is_not_sent(tmp_path: Path) -> None:
    items = items_in(tmp_path, file(photo()))
    (tmp_path / "out").write_bytes(b"a file where a folder is wanted")
    sent: list[httpx.Request] = []
    counts = run(items, sent=sent)
    assert (counts.failed, counts.skipped, counts.complete) == (1, 0, False)
    assert not sent


def test_a_folder_in_the_place_of_a_result_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = items_in(tmp_path, file(photo()))
    (tmp_path / "out" / "0.png").mkdir(parents=True)
    counts = run(items)
    assert (counts.failed, counts.skipped) == (1, 0)
    assert "Errno" not in capsys.readouterr().err


def test_a_result_that_another_run_has_written_meanwhile_is_there_already(tmp_path: Path) -> None:
    twice = items_in(tmp_path, file(photo())) * 2
    counts = run(twice)
    assert (counts.written, counts.skipped, counts.complete) == (1, 1, True)


def test_rest_is_not_tried_without_a_key(tmp_path: Path) -> None:
    sent: list[httpx.Request] = []
    keyless = httpx.Response(401, json={"type": "/problems/unauthorized", "detail": "there is no API key"})
    counts = run(items_in(tmp_path, *[file(photo())] * 9), keyless=keyless, sent=sent)
    assert (counts.failed, counts.not_tried, len(sent)) == (2, 7, 2)  # as many as are sent at a time


def test_rest_is_not_tried_if_the_service_is_unavailable(tmp_path: Path) -> None:
    counts = run(items_in(tmp_path, *[file(photo())] * 5), unavailable=True)
    assert (counts.written, counts.failed, counts.not_tried) == (0, 0, 5)
    assert "no answer" in counts.outage_reason
