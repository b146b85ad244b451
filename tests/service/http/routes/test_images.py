import gzip
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from unittest.mock import ANY

import httpx
import numpy as np
import pytest
from PIL import Image

from service.engine.admission import SAFETY_FACTOR
from service.engine.cost_model import SMOOTHING
from service.http.problems import PROBLEM_MEDIA_TYPE
from service.imaging.codecs import readable_types, writable_types
from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, held, painted, pixels, publish, publish_upscaler, same, serving, wait_for

MANY_TILES = {"tile_values": 2**16}
"""The narrow networks' tiles are some 90 pixels wide then (the style), or 20 (×4)."""


def post(live: Live, path: str, content: bytes, **headers: str) -> httpx.Response:
    return live.client.post(path, content=content, headers=headers)


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, object]:
    """The body of a failure, after what every failure has was checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
    body: dict[str, object] = answer.json()
    assert body["type"] == f"/problems/{kind}"
    assert body["status"] == status
    assert body["instance"] == answer.headers["X-Request-ID"]
    assert {"title", "detail"} <= body.keys()
    return body


@contextmanager
def leaving(live: Live, content: bytes, path: str = "/v1/stylize/wave") -> Iterator[None]:
    """A client that sends a whole request and leaves at the end of the block without an answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(content)}\r\n\r\n"
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + content)
        yield


@contextmanager
def one_in_flight(live: Live) -> Iterator[Future[httpx.Response]]:
    """The answer to a request that is on the device, and stays there for the length of the block."""
    with ThreadPoolExecutor(1) as client, held(live):
        batches = live.metric("pastiche_batch_size_count")
        answer = client.submit(httpx.post, f"{live.url}/v1/stylize/wave", content=file(photo(99)), timeout=PATIENCE)
        wait_for(lambda: live.metric("pastiche_batch_size_count"), lambda count: count > batches)
        yield answer


def test_stylized_image_is_that_of_the_stored_network(tmp_path: Path) -> None:
    manifest = publish(tmp_path)
    with serving(tmp_path) as live:
        answer = post(live, "/v1/stylize/wave", file(photo()), **{"X-Request-ID": "mine"})
    assert answer.status_code == 200
    assert same(pixels(answer.content), painted(tmp_path, photo()))
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Model"] == "wave@1"
    assert answer.headers["X-Model-Digest"] == manifest.digest
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    stages = [stage.split(";dur=")[0] for stage in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["read", "decode", "queue", "infer", "encode"]


def test_upscaled_image_has_four_times_the_sides(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live:
        answer = post(live, "/v1/upscale/4?back_projection=false", file(photo(height=9, width=14)))
    expected = painted(tmp_path, photo(height=9, width=14), "x4")
    assert pixels(answer.content).shape == (36, 56, 3)
    assert same(pixels(answer.content), expected)


def test_upscaler_is_chosen_by_name(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    publish_upscaler(tmp_path, "faces", seed=1)
    with serving(tmp_path) as live:
        assert post(live, "/v1/upscale/4", file(photo())).headers["X-Model"] == "x4@1"
        assert post(live, "/v1/upscale/4?model=faces", file(photo())).headers["X-Model"] == "faces@1"
        missing = post(live, "/v1/upscale/4?model=cats", file(photo()))
        assert problem(missing, 404, "unknown-model")["available"] == ["faces", "x4"]


def test_form_gives_the_same_as_the_raw_body(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        raw = post(live, "/v1/stylize/wave", file(photo()))
        form = live.client.post("/v1/stylize/wave", files={"image": ("photo.png", file(photo()), "image/png")})
    assert form.content == raw.content


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", None, "png"),
        ("?format=webp", None, "webp"),
        ("", "image/jpeg", "jpeg"),
        ("?format=jpg", "image/png", "jpeg"),
    ],
)
def test_output_format_is_chosen(tmp_path: Path, query: str, accept: str | None, kind: str) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = post(live, f"/v1/stylize/wave{query}", file(photo()), **({"Accept": accept} if accept else {}))
    assert answer.headers["Content-Type"] == f"image/{kind}"
    assert Image.open(BytesIO(answer.content)).format == kind.upper()


def test_quality_costs_bytes(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        sizes = [
            len(post(live, f"/v1/stylize/wave?format=jpeg&quality={quality}", file(photo(height=200))).content)
            for quality in (10, 95)
        ]
    assert sizes[0] < sizes[1]


def test_alpha_comes_back_at_the_new_size(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    image = Image.fromarray(photo())
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    with serving(tmp_path) as live:
        answer = post(live, "/v1/upscale/4", file(image), Accept="image/jpeg, image/webp;q=1")
    result = Image.open(BytesIO(answer.content))
    assert (result.format, result.mode, result.size) == ("WEBP", "RGBA", (128, 96))
    rows = np.asarray(result.getchannel("A")).mean(axis=1)
    assert rows[0] < 10
    assert rows[-1] > 245


def test_rotated_photo_comes_back_upright(tmp_path: Path) -> None:
    publish(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(photo()).transpose(Image.Transpose.ROTATE_90)
    with serving(tmp_path) as live:
        answer = post(live, "/v1/stylize/wave", file(stored, exif=exif))
    assert same(pixels(answer.content), painted(tmp_path, photo()))
    assert Image.open(BytesIO(answer.content)).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_compressed_body_is_decoded(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    publish(tmp_path)
    coding = {"Content-Encoding": "gzip" if compress is gzip.compress else "deflate"}
    with serving(tmp_path, max_body_bytes=50_000) as live:
        plain = post(live, "/v1/stylize/wave", file(photo()))
        coded = post(live, "/v1/stylize/wave", compress(file(photo())), **coding)
        assert (coded.status_code, coded.content, coded.headers["ETag"]) == (200, plain.content, plain.headers["ETag"])
        form = live.client.build_request("POST", "/v1/stylize/wave", files={"image": file(photo())})
        kind = {"Content-Type": form.headers["Content-Type"]}
        assert post(live, "/v1/stylize/wave", compress(form.read()), **coding, **kind).content == plain.content
        job = live.client.put("/v1/jobs/coded?style=wave", content=compress(file(photo())), headers=coding)
        assert job.status_code == 201
        again = live.client.put("/v1/jobs/coded?style=wave", content=file(photo()))
        assert again.status_code == 200
        bomb = problem(post(live, "/v1/stylize/wave", compress(bytes(10**7)), **coding), 413, "body-too-large")
        assert bomb["max_accepted"] == 50_000
        broken = problem(post(live, "/v1/stylize/wave", compress(file(photo()))[:-9], **coding), 400, "malformed-body")
        assert "ends too early" in str(broken["detail"])
        for other in ("br", "zstd"):
            answer = post(live, "/v1/stylize/wave", file(photo()), **{"Content-Encoding": other})
            assert other in str(problem(answer, 415, "unsupported-coding")["detail"])
            assert answer.headers["Accept-Encoding"] == "gzip, deflate, identity"


def test_failures_say_what_would_have_been_accepted(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    good = file(photo())
    limits = {"max_body_bytes": 50_000, "max_pixels": 5000, "max_output_pixels": 40_000}
    with serving(tmp_path, **limits) as live:
        unknown = problem(post(live, "/v1/stylize/cats", good), 404, "unknown-model")
        assert unknown["available"] == ["wave"]
        too_much = problem(post(live, "/v1/upscale/16.5", good), 404, "unknown-model")
        assert too_much["available"] == [4, 16]
        assert "enlarges ×16.5, nor do several in turn; the largest scale is 16" in str(too_much["detail"])
        same = problem(post(live, "/v1/upscale/1", good), 404, "unknown-model")
        assert "×1 takes a network that restores" in str(same["detail"])
        problem(live.client.get("/v1/stylize"), 404, "not-found")
        wrong = live.client.get("/v1/stylize/wave")
        assert problem(wrong, 405, "method-not-allowed")["allowed"] == wrong.headers["Allow"] == "POST"

        invalid = problem(post(live, "/v1/stylize/wave?quality=0", good), 422, "invalid-request")
        assert "query.quality" in str(invalid["detail"])
        for scale in ("four", "0.99", "0.5", "inf", "nan"):
            problem(post(live, f"/v1/upscale/{scale}", good), 422, "invalid-request")
        twice = problem(post(live, "/v1/stylize/wave?quality=9&quality=8", good), 422, "invalid-request")
        assert twice["detail"] == "query.quality: given more than once; send it once"
        late = problem(post(live, "/v1/stylize/wave", good, **{"X-Request-Timeout": "soon"}), 422, "invalid-request")
        assert late["errors"] == [{"where": "header.X-Request-Timeout", "what": ANY}]
        assert "number" in str(late["detail"])
        jxl = post(live, "/v1/stylize/wave", good, Accept="image/jxl")
        assert problem(jxl, 406, "not-acceptable")["available"] == [*writable_types(), "application/json"]
        assert jxl.headers["Vary"] == "Accept"

        problem(post(live, "/v1/stylize/wave", b""), 400, "malformed-body")
        problem(live.client.post("/v1/stylize/wave", files={"photo": good}), 400, "malformed-body")
        huge = problem(post(live, "/v1/stylize/wave", bytes(50_001)), 413, "body-too-large")
        assert (huge["actual"], huge["max_accepted"]) == (50_001, 50_000)
        chunked = live.client.post("/v1/stylize/wave", content=iter([bytes(20_000)] * 3))
        problem(chunked, 413, "body-too-large")
        problem(live.client.post("/v1/stylize/wave", files={"image": bytes(60_000)}), 413, "body-too-large")

        other = problem(post(live, "/v1/stylize/wave", b"%PDF-1.7" + bytes(50)), 415, "unsupported-image")
        assert "image/webp" in str(other["accepted"])
        problem(post(live, "/v1/stylize/wave", good[: len(good) // 2]), 400, "corrupt-image")
        large = file(photo(height=100, width=51))
        pixels_of = problem(post(live, "/v1/stylize/wave", large), 422, "image-too-large")
        assert (pixels_of["limit"], pixels_of["actual"], pixels_of["max_accepted"]) == ("max_pixels", 5100, 5000)
        enlarged = problem(post(live, "/v1/upscale/4", file(photo(height=51, width=50))), 422, "image-too-large")
        assert (enlarged["limit"], enlarged["actual"]) == ("max_output_pixels", 40_800)

        assert live.metric("pastiche_rejected_total", reason="body-too-large") == 3
        assert live.metric("pastiche_batch_size_count") == 0
        assert post(live, "/v1/stylize/wave", good).status_code == 200


def test_model_that_could_not_be_loaded_is_unavailable(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "wave" / "1" / "weights.safetensors").write_bytes(b"")
    with serving(tmp_path) as live:
        answer = problem(post(live, "/v1/stylize/wave", file(photo())), 503, "model-unavailable")
    assert "wave@1" in str(answer["detail"])


@pytest.mark.parametrize("batch_values", [None, 10**6])
def test_twenty_clients_get_their_own_images(tmp_path: Path, batch_values: int | None) -> None:
    """Each as it is alone, to the byte, whether images run one at a time or share batches."""
    publish(tmp_path)
    photos = [file(photo(seed)) for seed in range(20)]
    with serving(tmp_path, batch_values=batch_values) as live:
        alone = [post(live, "/v1/stylize/wave", one).content for one in photos]
        with ThreadPoolExecutor(20) as clients:
            together = list(clients.map(lambda one: post(live, "/v1/stylize/wave", one), photos * 3))
        largest = live.metric("pastiche_batch_size_sum") - live.metric("pastiche_batch_size_count")
    for answer, expected in zip(together, alone * 3, strict=True):
        assert answer.status_code == 200
        assert answer.content == expected
    assert (largest > 0) == (batch_values is not None)
    assert len(set(alone)) == 20


def test_truncated_image_among_good_ones_fails_alone(tmp_path: Path) -> None:
    publish(tmp_path)
    photos = [file(photo(seed)) for seed in range(8)]
    photos[3] = photos[3][:-200]
    with serving(tmp_path, batch_values=10**6) as live, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda one: post(live, "/v1/stylize/wave", one), photos))
    problem(answers.pop(3), 400, "corrupt-image")
    assert [answer.status_code for answer in answers] == [200] * 7


def test_full_service_refuses_at_once_and_says_when_to_come_back(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, max_queue_requests=1) as live:
        with one_in_flight(live) as first:
            refused = post(live, "/v1/stylize/wave", file(photo()))
            assert not first.done()
        body = problem(refused, 503, "overloaded")
        assert refused.headers["Retry-After"] == str(body["retry_after"])
        assert int(refused.headers["Retry-After"]) >= 1
        assert first.result().status_code == 200
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 0)
        assert post(live, "/v1/stylize/wave", file(photo())).status_code == 200
        assert live.metric("pastiche_rejected_total", reason="overloaded") == 1


def predict(live: Live, name: str, seconds: float) -> None:
    """Let a batch of one `photo()` be predicted to take so long, by measurements that never happened."""
    model = live.service.models.style(name)
    cost_model, pixels = model.cost_model, model.tiling.plan(24, 32)[0].pixels
    while (now := cost_model.seconds(pixels)) < seconds * 0.999:
        cost_model.update(pixels, now * min(8.0, (seconds / now) ** (1 / (1 - SMOOTHING))))


def begun(live: Live) -> int:
    """How many of the admitted images the device has begun; no metric tells them from those that are being decoded."""
    return sum(request.times.started > 0 for request in list(live.service.admission.inferences))


@pytest.mark.parametrize("stage", ["queue", "infer"])
def test_client_that_leaves_frees_its_place(tmp_path: Path, stage: str) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ExitStack() as stack:
        ahead = 1 if stage == "queue" else 0
        stack.enter_context(one_in_flight(live) if ahead else held(live))
        with leaving(live, file(photo())):
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == ahead + 1)
            wait_for(lambda: live.metric("pastiche_queue_requests"), lambda queued: queued == ahead)
            wait_for(lambda: begun(live), lambda count: count == 1)  # the one ahead, or else this one
        wait_for(lambda: live.metric("pastiche_cancelled_total", stage=stage), lambda cancelled: cancelled == 1)
        assert live.metric("pastiche_queue_requests") == 0
        assert live.metric("pastiche_admitted_requests") == ahead
        stack.close()
        assert post(live, "/v1/stylize/wave", file(photo())).status_code == 200
        assert live.metric("pastiche_batch_size_count") == 2  # of three requests: the one that left the queue never ran
        assert live.metric("pastiche_http_requests_total", code="499") == 1


def test_service_learns_how_long_clients_wait(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, held(live):
        for _ in range(12):
            with leaving(live, file(photo())):
                wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 0)
        assert live.service.admission.patience.seconds() < PATIENCE


def test_answer_that_was_promised_may_be_late(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, request_timeout=0.5) as live, ThreadPoolExecutor(2) as clients:
        with held(live):
            answers = [clients.submit(post, live, "/v1/stylize/wave", file(photo(seed))) for seed in range(2)]
            wait_for(lambda: live.metric("pastiche_queue_oldest_age_seconds"), lambda age: age > 0.5)
        assert [answer.result().status_code for answer in answers] == [200, 200]


def test_answer_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, request_timeout=0.5, max_request_timeout=0.5) as live, held(live):
        late = post(live, "/v1/stylize/wave", file(photo()))
        assert "0.5 s" in str(problem(late, 504, "deadline-exceeded")["detail"])


def test_lone_answer_that_cannot_be_ready_in_time_is_given_up(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        with held(live):
            late = post(live, "/v1/stylize/wave", file(photo()), **{"X-Request-Timeout": "0.3"})
        assert "X-Request-Timeout" in str(problem(late, 504, "deadline-exceeded")["detail"])
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 0)
        assert post(live, "/v1/stylize/wave", file(photo())).status_code == 200


def test_timeout_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        for asked in ("0", "-1", "soon", "", "nan", "inf", "1e999"):
            refused = post(live, "/v1/stylize/wave", file(photo()), **{"X-Request-Timeout": asked})
            detail = str(problem(refused, 422, "invalid-request")["detail"])
            assert "X-Request-Timeout" in detail
            assert any(words in detail for words in ("greater than 0", "valid number", "finite number"))


def test_timeout_over_the_most_is_refused_and_up_to_it_accepted(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, max_request_timeout=90) as live:
        refused = post(live, "/v1/stylize/wave", file(photo()), **{"X-Request-Timeout": "90.5"})
        assert "90.5; at most 90 seconds" in str(problem(refused, 422, "invalid-request")["detail"])
        accepted = post(live, "/v1/stylize/wave", file(photo()), **{"X-Request-Timeout": "90"})
        assert accepted.status_code == 200


def test_work_that_cannot_be_done_in_time_is_refused_at_once(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        predict(live, "wave", 20.0)
        with one_in_flight(live) as first:
            refused = post(live, "/v1/stylize/wave", file(photo()), **{"X-Request-Timeout": "30"})
            assert not first.done()
        body = problem(refused, 503, "overloaded")
        assert "there are 30.0 s for it" in str(body["detail"])
        assert refused.headers["Retry-After"] == str(body["retry_after"])
        assert 1 <= int(refused.headers["Retry-After"]) <= 40 * SAFETY_FACTOR - 30 + 1
        assert live.metric("pastiche_rejected_total", reason="overloaded") == 1
        assert first.result().status_code == 200


def test_priority_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        refused = post(live, "/v1/stylize/wave?priority=urgent", file(photo()))
        assert "'interactive' or 'bulk'" in str(problem(refused, 422, "invalid-request")["detail"])


def test_interactive_request_overtakes_bulk_ones(tmp_path: Path) -> None:
    publish(tmp_path)
    large = [file(photo(seed, height=300, width=400)) for seed in range(6)]
    with serving(tmp_path, **MANY_TILES) as live, ThreadPoolExecutor(8) as clients:
        with one_in_flight(live):
            bulk = [clients.submit(post, live, "/v1/stylize/wave?priority=bulk", one) for one in large]
            wait_for(lambda: live.metric("pastiche_queue_requests"), lambda queued: queued == 6)
            urgent = clients.submit(post, live, "/v1/stylize/wave", file(photo()))
            wait_for(lambda: live.metric("pastiche_queue_requests"), lambda queued: queued == 7)
        assert urgent.result().status_code == 200
        assert not all(answer.done() for answer in bulk)
        assert {answer.result().status_code for answer in bulk} == {200}


@pytest.mark.parametrize("path", ["/v1/stylize/wave", "/v1/stylize/night", "/v1/upscale/4?back_projection=false"])
def test_image_of_many_tiles_is_what_the_network_makes_of_it(tmp_path: Path, path: str) -> None:
    publish(tmp_path)
    publish(tmp_path, "night", network(norm="thumbnail", thumbnail=64, seed=1))
    publish_upscaler(tmp_path)
    upscaled = "upscale" in path
    image = photo(5, 61, 83) if upscaled else photo(5, 301, 403)
    with serving(tmp_path, threads=2, lanes=2, **MANY_TILES) as live:
        answer = post(live, path, file(image))
        assert live.metric("pastiche_batch_size_sum") >= 10
    assert same(pixels(answer.content), painted(tmp_path, image, "x4" if upscaled else path.rpartition("/")[2]))


def test_network_that_is_not_local_has_a_limit_of_its_own(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "night", network(norm="instance"))
    small, large = file(photo(height=50, width=50)), file(photo(height=51, width=50))
    with serving(tmp_path, max_whole_pixels=2500, **MANY_TILES) as live:
        refused = problem(post(live, "/v1/stylize/night", large), 422, "image-too-large")
        assert (refused["limit"], refused["actual"], refused["max_accepted"]) == ("max_whole_pixels", 2550, 2500)
        assert same(
            pixels(post(live, "/v1/stylize/night", small).content), painted(tmp_path, photo(0, 50, 50), "night")
        )
        assert post(live, "/v1/stylize/wave", large).status_code == 200


def test_client_that_leaves_in_the_middle_frees_the_device_between_tiles(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, **MANY_TILES) as live:
        tiles = len(live.service.models.style("wave").tiling.plan(2400, 3200))
        large = file(photo(height=2400, width=3200), compress_level=1)
        with leaving(live, large, "/v1/stylize/wave?size=native"):
            wait_for(lambda: live.metric("pastiche_batch_size_count"), lambda count: count >= 3)
        wait_for(lambda: live.metric("pastiche_cancelled_total", stage="infer"), lambda cancelled: cancelled == 1)
        wait_for(lambda: live.metric("pastiche_device_operation_age_seconds"), lambda age: age == 0)
        ran = live.metric("pastiche_batch_size_count")
        assert 3 <= ran < tiles
        assert live.metric("pastiche_device_wasted_seconds_total") > 0
        for gauge in ("queue_requests", "admitted_requests", "admitted_pixels", "backlog_seconds"):
            assert live.metric(f"pastiche_{gauge}") == 0
        assert post(live, "/v1/stylize/wave", file(photo())).status_code == 200
        assert live.metric("pastiche_batch_size_count") == ran + 1


def test_thumbnail_behind_a_poster_is_answered_long_before_it(tmp_path: Path) -> None:
    """They come while the device is busy, so that what it does next is the scheduler's choice, not a matter of time."""
    publish(tmp_path)
    poster, thumbnail = photo(1, 600, 800), photo(2)
    with serving(tmp_path, **MANY_TILES) as live, ThreadPoolExecutor(2) as clients:
        tiles = len(live.service.models.style("wave").tiling.plan(600, 800))
        with held(live):
            patient = {"X-Request-Timeout": "600"}
            large = clients.submit(post, live, "/v1/stylize/wave", file(poster), **patient)
            wait_for(lambda: live.metric("pastiche_queue_requests"), lambda queued: queued == 1)
            small = clients.submit(post, live, "/v1/stylize/wave", file(thumbnail), **patient)
            wait_for(lambda: live.metric("pastiche_queue_requests"), lambda queued: queued == 2)
            waiting = list(live.service.admission.inferences)
        answers = small.result(), large.result()
        finished = [request.times.finished for request in sorted(waiting, key=lambda one: one.tile_count)]
        assert tiles > 20
        assert finished == sorted(finished)
        assert [answer.status_code for answer in answers] == [200, 200]
        assert same(pixels(answers[0].content), painted(tmp_path, thumbnail))
        assert same(pixels(answers[1].content), painted(tmp_path, poster))


def test_new_version_is_swapped_in_while_requests_run(tmp_path: Path) -> None:
    """No request fails or gets a mixture: each answer is that of the version which it names."""
    publish(tmp_path, built=network(seed=1))
    swapped = threading.Event()
    answers: list[httpx.Response] = []
    with serving(tmp_path) as live:

        def ask() -> None:
            while not swapped.is_set():
                answers.append(post(live, "/v1/stylize/wave", file(photo())))

        with ThreadPoolExecutor(3) as clients:
            for _ in range(3):
                clients.submit(ask)
            publish(tmp_path, built=network(seed=2))
            live.until("/v1/models/wave", lambda answer: answer.json()["version"] == 2)
            answers.append(post(live, "/v1/stylize/wave", file(photo())))
            swapped.set()
    versions = {version: painted(tmp_path, photo(), version=version) for version in (1, 2)}
    assert {answer.headers["X-Model"] for answer in answers} == {"wave@1", "wave@2"}
    for answer in answers:
        expected = versions[int(answer.headers["X-Model"].removeprefix("wave@"))]
        assert same(pixels(answer.content), expected)


def test_metrics_show_what_was_done(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live:
        post(live, "/v1/stylize/wave", file(photo()))
        post(live, "/v1/upscale/4", file(photo()))
        post(live, "/v1/upscale/4", file(photo()))
        route = "/v1/upscale/{scale}"
        assert live.metric("pastiche_http_requests_total", route=route, method="POST", code="200") == 2
        for stage in ("read", "decode", "queue", "infer", "encode"):
            assert live.metric("pastiche_stage_duration_seconds_count", stage=stage, model="x4") == 2
            assert live.metric("pastiche_stage_duration_seconds_count", stage=stage, model="wave") == 1
        assert live.metric("pastiche_output_pixels_total", model="x4") == 2 * 16 * 24 * 32
        assert live.metric("pastiche_output_pixels_total", model="wave") == 24 * 32


def test_description_of_the_api_covers_bodies_and_problems(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        described = live.client.get("/openapi.json").json()
    operation = described["paths"]["/v1/upscale/{scale}"]["post"]
    assert set(operation["requestBody"]["content"]) == {*readable_types(), "multipart/form-data"}
    assert set(operation["responses"]["200"]["content"]) == {*writable_types(), "application/json"}
    names = {"scale", "model", "denoise", "width", "height", "fit", "back_projection"}
    names |= {"format", "quality", "lossless", "progressive", "subsampling", "metadata"}
    names |= {"priority", "X-Request-Timeout", "Prefer", "X-Callback-URL", "Idempotency-Key"}
    assert {parameter["name"] for parameter in operation["parameters"]} == names
    for status in ("400", "404", "406", "413", "415", "422", "503", "504"):
        assert list(operation["responses"][status]["content"]) == [PROBLEM_MEDIA_TYPE]
