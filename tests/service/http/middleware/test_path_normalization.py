import asyncio

from starlette.types import Message, Receive, Scope, Send

from service.http.middleware.path_normalization import NormalizePath


def call(method: str, path: str) -> tuple[Scope, Scope, list[Message]]:
    """The scope before and inside, and what was sent."""
    sent: list[Message] = []
    inside: Scope = {}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        inside.update(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": []}
    asyncio.run(NormalizePath(answer)(scope, receive, send))
    return scope, inside, sent


def test_head_is_get_without_the_body() -> None:
    scope, inside, sent = call("HEAD", "/v1/models")
    assert inside["method"] == "GET"
    assert scope["method"] == "HEAD"
    assert sent[0]["headers"] == [(b"content-length", b"2")]
    assert sent[1]["body"] == b""


def test_other_methods_are_left_alone() -> None:
    scope, inside, sent = call("POST", "/v1/models")
    assert inside["method"] == scope["method"] == "POST"
    assert sent[1]["body"] == b"hi"


def test_slash_at_the_end_is_none() -> None:
    assert call("GET", "/v1/models/")[1]["path"] == "/v1/models"
    assert call("GET", "/v1/models//")[1]["path"] == "/v1/models"
    assert call("GET", "/")[1]["path"] == "/"
    assert call("GET", "//")[1]["path"] == "/"
