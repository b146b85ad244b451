import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, held, publish, publish_restorer, publish_upscaler, serving, wait_for

LIMITS = {"max_pixels": 5000, "max_output_pixels": 20_000, "max_queue_pixels": 40_000, "max_queue_requests": 1}
FRAMES = {"max_frames": 10, "max_queue_inferences": 10}
STYLIZE = {"task": "stylize", "style": "wave", "width": 32, "height": 24}
UPSCALE = {"task": "upscale", "scale": 4, "width": 32, "height": 24}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root: Path = tmp_path_factory.mktemp("store")
    publish(root)
    publish(root, "night", network(seed=1))
    publish(root, "x2", network("c3s1-4,c3s1-12,p2", norm="none"))
    with serving(root, **LIMITS, **FRAMES) as running:
        yield running


def estimate(live: Live, question: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = live.client.post("/v1/estimate", json=question | changes)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_what_would_be_accepted(live: Live) -> None:
    body = estimate(
        live, STYLIZE, style="wave:1,night:3", options={"size": 16, "output_size": 64, "enlarge": "lanczos"}
    )
    assert body["accepted"] is True
    assert body["problem"] is None
    assert body["models"] == ["night@1", "wave@1"]
    assert body["output"] == {"width": 64, "height": 48}
    assert body["pixels"] == 2 * 64 * 48
    assert (body["inferences"], body["tiles"]) == (2, 2)
    assert body["queue_seconds"] == 0
    assert body["infer_seconds"] > 0


def test_the_network_that_enlarges_a_painting_counts(live: Live) -> None:
    body = estimate(live, STYLIZE, options={"size": 16, "enlarge": "network"})
    assert body["models"] == ["wave@1", "x2@1"]
    assert (body["inferences"], body["pixels"], body["output"]) == (2, 12 * 16 + 24 * 32, {"width": 32, "height": 24})


def test_enlargement(live: Live) -> None:
    body = estimate(live, UPSCALE, options={"width": 90, "height": 90, "fit": "cover"})
    assert (body["models"], body["output"]) == (["x2@1", "x2@1"], {"width": 90, "height": 90})
    once = estimate(live, UPSCALE, scale=2)
    assert (body["inferences"], once["inferences"]) == (2, 1)
    assert body["pixels"] > once["pixels"]
    broken = estimate(live, UPSCALE, scale=2.53)
    assert (broken["models"], broken["output"]) == (["x2@1", "x2@1"], {"width": 81, "height": 61})


@pytest.mark.parametrize(
    ("question", "status", "words"),
    [
        (STYLIZE | {"style": "cats"}, 404, "there are: night, wave"),
        (STYLIZE | {"style": "wave:0"}, 422, "weight greater than 0"),
        (STYLIZE | {"width": 1000}, 422, "24000 pixels in the input exceed the 5000"),
        (STYLIZE | {"width": 2**31 - 1, "height": 2**31 - 1}, 422, "pixels in the input"),
        (STYLIZE | {"frames": 10}, 422, "7680 pixels in the input of 10 frames"),
        (STYLIZE | {"frames": 6, "style": "wave,night"}, 422, "12 inference requests for 6 frames and 2 networks"),
        (STYLIZE | {"width": 1, "height": 1, "frames": 1001}, 422, "the 10 that are accepted"),
        (STYLIZE | {"options": {"output_size": 2000}}, 422, "pixels in the output exceed the 20000"),
        (STYLIZE | {"frames": 2, "options": {"format": "jpeg"}}, 406, "the image has 2 frames"),
        (STYLIZE | {"options": {"format": "heic"}}, 406, "format=heic leaves none of"),
        (
            STYLIZE | {"width": 20, "height": 20, "options": {"quality": 5, "lossless": True, "format": "jpeg"}},
            422,
            "a jpeg",
        ),
        (STYLIZE | {"timeout": 10_000}, 422, "at most 600 seconds"),
        (UPSCALE | {"scale": 16.5}, 404, "no model enlarges ×16.5"),
        (UPSCALE | {"scale": 1}, 404, "×1 takes a network that restores"),
        (UPSCALE | {"options": {"width": 129}}, 422, "becomes 128×96 at most"),
        (UPSCALE | {"width": 80}, 422, "exceed the 20000"),
    ],
)
def test_refusals_are_those_of_the_request_itself(
    live: Live, question: dict[str, Any], status: int, words: str
) -> None:
    body = estimate(live, question)
    assert body["accepted"] is False
    assert body["problem"]["status"] == status
    assert words in body["problem"]["detail"]
    if question["width"] < 100 and not {"frames", "timeout"} & question.keys():
        assert body["problem"] == request(live, question).json() | {"instance": body["problem"]["instance"]}


def request(live: Live, question: dict[str, Any]) -> httpx.Response:
    """The request that a question is about."""
    path = f"/v1/{question['task']}/{question.get('style') or question.get('scale')}"
    image = file(photo(height=question["height"], width=question["width"]), "JPEG")
    return live.client.post(path, content=image, params=question.get("options", {}))


def test_both_models_of_an_image_that_is_not_known_yet(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    publish_restorer(tmp_path)
    with serving(tmp_path) as live:
        body = estimate(live, UPSCALE)
        assert (body["models"], body["damaged_models"]) == (["x4@1"], ["x4-photo@1"])
        assert estimate(live, UPSCALE, options={"model": "x4"})["damaged_models"] == []
        mixed = estimate(live, UPSCALE, options={"denoise": 0.6})
        assert (mixed["models"], mixed["damaged_models"]) == (["x4-photo@1", "x4@1"], [])
        assert mixed["pixels"] == 2 * body["pixels"]
        assert mixed["inferences"] == 2


def test_full_service_says_so_and_what_is_ahead(live: Live) -> None:
    with ThreadPoolExecutor(1) as client, held(live):
        client.submit(httpx.post, f"{live.url}/v1/stylize/wave", content=file(photo()), timeout=PATIENCE)
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
        body = estimate(live, STYLIZE)
    assert body["problem"]["type"] == "/problems/overloaded"
    assert body["problem"]["retry_after"] >= 1
    assert body["infer_seconds"] > 0
    wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 0)
    assert estimate(live, STYLIZE)["accepted"] is True


@pytest.mark.parametrize(
    "question",
    [
        {},
        STYLIZE | {"format": "png"},
        STYLIZE | {"options": {"colour": 2}},
        STYLIZE | {"task": "paint"},
        STYLIZE | {"width": 0},
        STYLIZE | {"options": {"strength": 2}},
        UPSCALE | {"options": {"strength": 1}},
        UPSCALE | {"scale": 0.5},
    ],
)
def test_question_that_makes_no_sense_is_refused_itself(live: Live, question: dict[str, Any]) -> None:
    answer = live.client.post("/v1/estimate", json=question)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-request"


@pytest.mark.parametrize(
    ("body", "place"), [(b"[1", 2), (b'{"task":', 8), (b'{"task": stylize}', 9), (b"{'task': 1}", 1)]
)
def test_question_that_is_no_json_is_told_where(live: Live, body: bytes, place: int) -> None:
    answer = live.client.post("/v1/estimate", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-json")
    assert f"at character {place}" in answer.json()["detail"]


def test_question_without_a_content_type_is_told_so(live: Live) -> None:
    """`curl -d` sends the one of a form."""
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        answer = live.client.post("/v1/estimate", content=json.dumps(STYLIZE), headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
        assert "Content-Type: application/json" in answer.json()["detail"]


def test_question_without_a_task_is_told_so(live: Live) -> None:
    answer = live.client.post("/v1/estimate", json={"style": "wave", "width": 32, "height": 24})
    assert answer.json()["errors"] == [{"where": "body.task", "what": "Field required"}]
