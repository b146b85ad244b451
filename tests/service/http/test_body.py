import asyncio
import gzip
from collections.abc import Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive

from service.errors import BodyTimeout, BodyTooLarge, ClientGone, TooManyUploads, UnsupportedCoding
from service.http.body import read_files
from service.http.body_budget import BodyBudget
from service.http.middleware.body_reservation import Upload
from service.http.upload_pace import Pace
from service.telemetry.metrics import Metrics

LIMIT = 1000
PLENTY = 10 * LIMIT
FORM = "multipart/form-data; boundary=cut"


def form(content: bytes) -> bytes:
    return b'--cut\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + content + b"\r\n--cut--\r\n"


def request(chunks: Iterable[bytes], headers: dict[str, str] | None = None, *, leaves: bool = False) -> Request:
    """A request whose body comes in these chunks; then the client leaves, or stays and says nothing."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if not leaves:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    remaining = iter(messages)

    async def receive() -> Message:
        return next(remaining, {"type": "http.disconnect"})

    return received(receive, headers)


def received(receive: Receive, headers: dict[str, str] | None = None, budget: BodyBudget | None = None) -> Request:
    """A request whose body is received so; the bytes are of this budget."""
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    upload = Upload(budget or BodyBudget(PLENTY, Metrics()), Pace(1.0))
    state = {"upload": upload}
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "state": state}, receive)


async def unread() -> Message:
    raise AssertionError("the body was read")


def read(*chunks: bytes, headers: dict[str, str] | None = None) -> bytes:
    return asyncio.run(read_files(request(chunks, headers), LIMIT, 60)).image


def test_raw_body_is_put_together() -> None:
    assert read(b"one ", b"two", headers={"Content-Type": "application/x-www-form-urlencoded"}) == b"one two"
    assert read() == b""


def test_body_of_the_largest_size_is_read() -> None:
    assert read(bytes(LIMIT), headers={"Content-Length": str(LIMIT)}) == bytes(LIMIT)


def test_announced_size_is_refused_before_anything_is_read() -> None:
    announced = received(unread, {"Content-Length": str(LIMIT + 1)})
    with pytest.raises(BodyTooLarge) as failure:
        asyncio.run(read_files(announced, LIMIT, 60))
    assert failure.value.members == {"limit": "max_body_bytes", "actual": LIMIT + 1, "max_accepted": LIMIT}


@pytest.mark.parametrize("length", [None, "-1", "10", "many"])
def test_size_is_counted_whatever_was_announced(length: str | None) -> None:
    with pytest.raises(BodyTooLarge):
        read(*[bytes(100)] * 11, headers={"Content-Length": length} if length else None)


def test_size_of_a_form_is_counted_too() -> None:
    with pytest.raises(BodyTooLarge):
        read(form(bytes(LIMIT)), headers={"Content-Type": FORM})


def test_form_is_read_as_it_arrives() -> None:
    body = form(b"the image")
    assert read(body[:50], body[50:], headers={"Content-Type": FORM}) == b"the image"


def test_compressed_body_is_decoded() -> None:
    zipped = gzip.compress(b"the image")
    assert read(zipped[:9], zipped[9:], headers={"Content-Encoding": "gzip"}) == b"the image"
    zipped = gzip.compress(form(b"the image"))
    assert read(zipped[:9], zipped[9:], headers={"Content-Encoding": "gzip", "Content-Type": FORM}) == b"the image"


def test_decoded_size_is_counted_as_it_is_decoded() -> None:
    assert len(read(gzip.compress(bytes(LIMIT)), headers={"Content-Encoding": "gzip"})) == LIMIT
    bomb = gzip.compress(bytes(10**8))[:LIMIT]  # the rest never comes
    with pytest.raises(BodyTooLarge) as failure:
        read(bomb, headers={"Content-Encoding": "gzip"})
    assert failure.value.members["actual"] < 10**6


def test_coding_that_is_not_decoded_is_refused_before_anything_is_read() -> None:
    coded = received(unread, {"Content-Encoding": "br"})
    with pytest.raises(UnsupportedCoding, match="br; accepted are: gzip, deflate"):
        asyncio.run(read_files(coded, LIMIT, 60))


@pytest.mark.parametrize("headers", [{}, {"Content-Type": FORM}])
def test_client_that_leaves_while_it_sends_is_gone(headers: dict[str, str]) -> None:
    with pytest.raises(ClientGone):
        asyncio.run(read_files(request([form(b"the image")[:-20]], headers, leaves=True), LIMIT, 60))


def test_body_that_does_not_come_in_time_is_refused() -> None:
    async def silent() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(BodyTimeout, match=r"0\.01 s"):
        asyncio.run(read_files(received(silent), LIMIT, 0.01))


def test_memory_is_reserved_before_anything_is_read() -> None:
    async def main() -> None:
        budget = BodyBudget(PLENTY, Metrics())
        await budget.grow(budget.open(), PLENTY * 3 // 4, 1.0)
        with pytest.raises(TooManyUploads):
            await read_files(received(unread, {"Content-Length": str(LIMIT)}, budget), LIMIT, 0.01)

    asyncio.run(main())


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_body_of_unknown_length_reserves_as_it_grows(headers: dict[str, str]) -> None:
    content = [bytes(100)] * 3
    chunks = [gzip.compress(b"".join(content))] if headers else content

    async def main() -> None:
        budget = BodyBudget(PLENTY, Metrics())
        subject = request(chunks, headers)
        subject.state.upload = Upload(budget, Pace(1.0))
        await read_files(subject, LIMIT, 60)
        assert budget.held == 300
        subject.state.upload.release()
        assert budget.held == 0

    asyncio.run(main())
