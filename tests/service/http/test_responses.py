import base64
from pathlib import Path

from tests.service.imaging.images import file, photo
from tests.service.live import publish, publish_upscaler, serving


def test_json_holds_the_image_and_all_that_is_known_of_it(tmp_path: Path) -> None:
    manifest = publish_upscaler(tmp_path)
    with serving(tmp_path) as live:
        plain = live.client.post("/v1/upscale/4?format=webp", content=file(photo()))
        answer = live.client.post(
            "/v1/upscale/4?format=webp", content=file(photo()), headers={"Accept": "application/json"}
        )
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["ETag"] == f'W/{plain.headers["ETag"][:-1]}-json"'  # weak: the JSON has timings, too
    body = answer.json()
    assert base64.b64decode(body.pop("image")) == plain.content
    assert list(body.pop("seconds")) == ["read", "decode", "queue", "infer", "encode"]
    assert body == {
        "models": [{"name": "x4", "version": 1, "digest": manifest.digest}],
        "format": "webp",
        "media_type": "image/webp",
        "width": 128,
        "height": 96,
        "bytes": len(plain.content),
        "etag": plain.headers["ETag"],
        "verdict": "",
    }


def test_failure_of_a_client_that_wants_json_is_a_problem_as_ever(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.post("/v1/stylize/wave", content=b"x", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (415, "application/problem+json")


def test_entity_tag_is_that_of_the_file(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:

        def tag(content: bytes, query: str = "", **headers: str) -> str:
            return live.client.post(f"/v1/stylize/wave{query}", content=content, headers=headers).headers["ETag"]

        first = tag(file(photo()))
        assert first == tag(file(photo()), "?priority=bulk", **{"X-Request-Timeout": "30"})
        different = {first, tag(file(photo(1))), tag(file(photo()), "?format=jpeg"), tag(file(photo()), "?quality=3")}
        assert len(different) == 4
        assert first.startswith('"')
