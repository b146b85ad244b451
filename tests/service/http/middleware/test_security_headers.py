from functools import partial
from pathlib import Path

import pytest

from service.http.middleware.security_headers import SecurityHeaders
from tests.service.http.asgi import call
from tests.service.imaging.images import file, photo
from tests.service.live import publish, serving


def test_headers_are_added_and_those_of_the_answer_stay() -> None:
    own = [(b"Content-Security-Policy", b"default-src 'self'"), (b"etag", b'"1"')]
    _, sent = call(partial(SecurityHeaders, resource_policy="same-site"), answered=own)
    names = [name.lower() for name, _ in sent[0]["headers"]]
    assert len(names) == len(set(names))
    assert dict(sent[0]["headers"]) == {
        **dict(own),
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-resource-policy": b"same-site",
    }


@pytest.mark.parametrize("origins", ["", "https://app.example"])
def test_every_answer_has_them(tmp_path: Path, origins: str) -> None:
    publish(tmp_path)
    with serving(tmp_path, cors_origins=origins) as live:
        answers = [live.client.get(path) for path in ("/", "/docs", "/livez", "/v1/models", "/none", "/metrics")]
        answers += [live.client.post("/v1/stylize/wave", content=content) for content in (file(photo()), b"")]
    for answer in answers:
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Resource-Policy"] == ("cross-origin" if origins else "same-site")


def test_pages_of_named_origins_may_call_and_read_what_they_need(tmp_path: Path) -> None:
    publish(tmp_path)
    page = {"Origin": "https://app.example"}
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization, prefer"}
    with serving(tmp_path, cors_origins="https://app.example, https://other.example") as live:
        preflight = live.client.options("/v1/jobs/mine", headers=page | asked)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == page["Origin"]
        answer = live.client.post("/v1/stylize/wave", headers=page, content=file(photo()))
        assert answer.headers["Access-Control-Allow-Origin"] == page["Origin"]
        assert {"Origin", "Accept"} <= set(answer.headers["Vary"].split(", "))
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"ETag", "Location", "Retry-After", "Server-Timing", "X-Model", "X-Request-ID"} <= set(exposed)
        evil = {"Origin": "https://evil.example"}
        assert live.client.options("/v1/jobs/mine", headers=evil | asked).status_code == 400
        assert "Access-Control-Allow-Origin" not in live.client.get("/v1/models", headers=evil).headers
    with serving(tmp_path) as live:
        assert "Access-Control-Allow-Origin" not in live.client.get("/v1/models", headers=page).headers
