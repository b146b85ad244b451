"""`model=auto`: which network enlarges a photograph follows from what is wrong with it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, pixels, publish_restorer, publish_upscaler, serving, wait_for

CLEAN, DAMAGED = file(photo(), "JPEG", quality=95), file(photo(), "JPEG", quality=40)
PNG = {"format": "png"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root: Path = tmp_path_factory.mktemp("store")
    publish_upscaler(root)
    publish_restorer(root)
    with serving(root) as running:
        yield running


def upscaled(live: Live, content: bytes, *, scale: float = 4, **options: str | float) -> httpx.Response:
    answer = live.client.post(f"/v1/upscale/{scale}", content=content, params={**PNG, **options})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("options", [{}, {"model": "auto"}])
def test_clean_photograph_is_enlarged_by_the_network_for_fidelity(live: Live, options: dict[str, str]) -> None:
    answer = live.client.post("/v1/upscale/4", content=CLEAN, params={**PNG, **options})
    assert (answer.headers["X-Model"], answer.headers["X-Model-Reason"]) == ("x4@1", "clean")
    named = upscaled(live, CLEAN, model="x4")
    assert answer.content == named.content
    assert "X-Model-Reason" not in named.headers


def test_damaged_photograph_is_enlarged_by_the_network_for_photographs(live: Live) -> None:
    answer = upscaled(live, DAMAGED)
    assert answer.headers["X-Model"] == "x4-photo@1"
    assert answer.headers["X-Model-Reason"] == "compressed (JPEG quality 40)"
    stages = [stage.split(";")[0] for stage in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["read", "assess", "decode", "queue", "infer", "encode"]
    assert answer.content == upscaled(live, DAMAGED, model="x4-photo").content
    assert answer.content == upscaled(live, DAMAGED, denoise=1).content
    assert answer.content == upscaled(live, DAMAGED, back_projection=False).content
    assert answer.content != upscaled(live, DAMAGED, back_projection=True).content


def test_chain_begins_with_the_network_for_photographs(live: Live) -> None:
    assert upscaled(live, DAMAGED, scale=16).headers["X-Model"] == "x4-photo@1, x4@1"
    assert upscaled(live, CLEAN, scale=16).headers["X-Model"] == "x4@1, x4@1"
    assert upscaled(live, DAMAGED, scale=2.5).headers["X-Model"] == "x4-photo@1"


def test_networks_are_mixed_by_halves(live: Live) -> None:
    none, half, most, whole = (
        pixels(upscaled(live, CLEAN, denoise=share, back_projection=False).content).astype(np.float64)
        for share in (0, 0.5, 0.75, 1)
    )
    assert np.abs(half - (none + whole) / 2).max() <= 1
    assert np.abs(most - (none + 3 * whole) / 4).max() <= 1
    assert upscaled(live, CLEAN, denoise=0.75).headers["X-Model"] == "x4-photo@1, x4@1"
    assert upscaled(live, CLEAN, denoise=0.25).headers["X-Model"] == "x4@1, x4-photo@1"


@pytest.mark.parametrize(
    ("scale", "options", "words"),
    [
        (16, {"denoise": 0.5}, "several networks in turn (x4, x4) take 0 or 1"),
        (4, {"denoise": 0.5, "model": "x4-photo"}, "leave denoise out, or model"),
        (4, {"denoise": 1.5}, "denoise"),
    ],
)
def test_mixture_that_cannot_be_made_is_refused(
    live: Live, scale: int, options: dict[str, str | float], words: str
) -> None:
    answer = live.client.post(f"/v1/upscale/{scale}", content=CLEAN, params=options)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_animation_counts_as_clean(live: Live) -> None:
    moving = file(Image.fromarray(photo()), "GIF", save_all=True, append_images=[Image.fromarray(photo(1))])
    answer = live.client.post("/v1/upscale/4", content=moving)
    assert (answer.headers["X-Model"], answer.headers["X-Model-Reason"]) == ("x4@1", "clean")


def test_identical_requests_are_one_run_and_another_choice_has_another_tag(live: Live) -> None:
    with ThreadPoolExecutor(2) as clients, held(live):
        answers = [clients.submit(upscaled, live, DAMAGED, quality=71) for _ in range(2)]
        wait_for(lambda: live.metric("pastiche_cache_requests_total", result="coalesced"), lambda count: count >= 1)
    tags = {answer.result().headers["ETag"] for answer in answers}
    assert len(tags) == 1
    assert {answer.result().headers["X-Model"] for answer in answers} == {"x4-photo@1"}
    assert tags.isdisjoint({upscaled(live, DAMAGED, quality=71, model="x4-photo").headers["ETag"]})


def test_job_and_json_say_why(live: Live) -> None:
    job = live.client.put("/v1/jobs/mine", content=DAMAGED, params={"scale": "4"})
    assert job.status_code in (200, 201, 202), job.text
    done = live.until("/v1/jobs/mine", lambda answer: answer.json()["state"] == "succeeded").json()
    assert done["result"]["models"][0]["name"] == "x4-photo"
    assert done["result"]["verdict"] == "compressed (JPEG quality 40)"
    result = live.client.get("/v1/jobs/mine/result")
    assert result.headers["X-Model-Reason"] == "compressed (JPEG quality 40)"
    answer = live.client.post("/v1/upscale/4", content=CLEAN, headers={"Accept": "application/json"})
    assert answer.json()["verdict"] == "clean"


def test_without_such_a_network_nothing_is_looked_at(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live:
        answer = upscaled(live, DAMAGED)
        assert answer.headers["X-Model"] == "x4@1"
        assert "X-Model-Reason" not in answer.headers
        assert "assess" not in answer.headers["Server-Timing"]
        refused = live.client.post("/v1/upscale/4", content=DAMAGED, params={"denoise": 1})
        assert refused.status_code == 422
        assert "no network for damaged photographs that enlarges ×4" in refused.json()["detail"]
