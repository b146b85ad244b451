"""Against the real service over HTTP, on the smallest networks there are."""

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks.servers import reserved_port
from client.answers import JobStatus
from client.errors import (
    AccessDenied,
    Conflict,
    ImageRejected,
    InvalidRequest,
    NotFound,
    UnexpectedAnswer,
    UnknownJob,
    UnknownModel,
)
from client.retries import RetryPolicy
from client.sync_client import Client
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, painted, pixels, publish, publish_upscaler, same, serving, wait_for

PHOTO = file(photo())


def connect(live: Live, **options: object) -> Client:
    return Client(live.url, verify=False, **options)  # type: ignore[arg-type] # of which there are several kinds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "models"
    publish(folder, "wave", preview=file(photo(9)))
    publish(folder, "scream")
    publish_upscaler(folder)
    return folder


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[Live]:
    with serving(root) as started:
        yield started


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[Client]:
    with connect(live) as made:
        yield made


def test_image_of_any_kind_is_stylized(client: Client, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    for image in (path, PHOTO, io.BytesIO(PHOTO), Image.fromarray(photo()), photo()):
        picture = client.stylize(image, "wave")
        assert picture.media_type == "image/png"
        assert same(pixels(picture.bytes), painted(root, photo()))
    assert [(model.name, model.version) for model in picture.models] == [("wave", 1)]
    assert picture.models[0].digest.startswith("sha256:")
    assert {"decode", "infer", "encode"} <= picture.seconds.keys()
    assert picture.etag
    assert picture.request_id


def test_options_reach_the_service(client: Client) -> None:
    plain = client.stylize(PHOTO, "wave", strength=0, format="png")
    assert np.array_equal(pixels(plain.bytes), photo())
    assert client.stylize(PHOTO, "wave", format="webp", quality=5, lossless=False).media_type == "image/webp"
    mixed = client.stylize(PHOTO, {"wave": 0.7, "scream": 0.3}, timeout=30, preserve_color=True)
    assert [model.name for model in mixed.models] == ["wave", "scream"]
    black = client.stylize(PHOTO, "wave", mask=np.zeros((24, 32), np.uint8))
    assert np.array_equal(pixels(black.bytes), photo())
    assert client.upscale(PHOTO, 4).image().size == (128, 96)
    assert client.upscale(PHOTO, 2.5, width=40, fit="cover").image().size == (40, 30)


def test_refusals_are_typed(client: Client) -> None:
    with pytest.raises(UnknownModel) as unknown:
        client.stylize(PHOTO, "waves")
    assert set(unknown.value.available) == {"wave", "scream"}
    with pytest.raises(ImageRejected) as rejected:
        client.stylize(b"no image", "wave")
    assert (rejected.value.kind, rejected.value.status) == ("unsupported-image", 415)
    with pytest.raises(InvalidRequest, match="strength"):
        client.stylize(PHOTO, "wave", strength=7)
    with pytest.raises(InvalidRequest):
        client.stylize(PHOTO, "wave", timeout=1e9)


def test_models_are_described(client: Client) -> None:
    assert [(model.name, model.task, model.scale) for model in client.models()] == [
        ("scream", "style", 1),
        ("wave", "style", 1),
        ("x4", "super-resolution", 4),
    ]
    details = client.model("wave")
    assert details.manifest is not None
    assert details.manifest["digest"] == details.digest
    assert "wave" in client.card("wave")
    assert np.array_equal(pixels(client.preview("wave").bytes), photo(9))
    with pytest.raises(NotFound, match="without a preview"):
        client.preview("scream")
    with pytest.raises(NotFound):
        client.model("a/b?c")


def test_estimate_says_what_a_call_would_get(client: Client) -> None:
    estimate = client.estimate(400, 300, style={"wave": 1, "scream": 1}, output_size=800)
    assert (estimate.accepted, estimate.refusal) == (True, None)
    assert estimate.output is not None
    assert (estimate.output.width, estimate.output.height) == (800, 600)
    smaller = client.estimate(400, 300, scale=4, width=200)
    assert smaller.output is not None
    assert smaller.output.width == 200
    assert isinstance(client.estimate(10, 10, style="none").refusal, UnknownModel)
    for wrong in ({}, {"style": "wave", "scale": 4}):
        with pytest.raises(ValueError, match="name a style or a scale"):
            client.estimate(10, 10, **wrong)  # type: ignore[arg-type] # a mistake


def test_probes_are_told(client: Client) -> None:
    assert client.health().ok
    ready = client.ready()
    assert ready.ok
    assert "wave@1" in ready.models


def test_job_gives_what_the_call_gives(client: Client) -> None:
    seen: list[JobStatus] = []
    job = client.submit(PHOTO, style="wave", format="webp")
    picture = job.result(seen.append)
    assert picture.bytes == client.stylize(PHOTO, "wave", format="webp").bytes
    assert seen[-1].state == "succeeded"
    assert seen[-1].progress.fraction == 1
    assert [status.state for status in job] == ["succeeded"]
    assert client.job(job.id).result().etag == picture.etag


def test_job_shows_its_progress_while_it_waits(live: Live, client: Client) -> None:
    with ThreadPoolExecutor(1) as threads:
        with held(live):
            job = client.submit(PHOTO, scale=4)
            states = threads.submit(lambda: [status.state for status in job])
            wait_for(job.status, lambda status: status.progress.tiles > 0)
            with pytest.raises(TimeoutError, match=r"is (queued|running) still"):
                job.wait(timeout=0.1)
        assert states.result()[-1] == "succeeded"


def test_submission_under_an_id_is_one_job(client: Client) -> None:
    first = client.submit(PHOTO, style="wave", id="mine")
    assert client.submit(PHOTO, style="wave", id="mine").id == first.id == "mine"
    with pytest.raises(Conflict):
        client.submit(PHOTO, style="wave", id="mine", strength=0.5)
    first.wait()
    first.cancel()
    first.cancel()
    with pytest.raises(UnknownJob):
        first.status()


def test_job_that_fails_raises_the_problem_of_the_call(client: Client) -> None:
    broken = PHOTO[:-200]
    with pytest.raises(ImageRejected) as expected:
        client.stylize(broken, "wave")
    job = client.submit(broken, style="wave")
    with pytest.raises(ImageRejected) as failed:
        job.result()
    assert (failed.value.kind, str(failed.value)) == (expected.value.kind, str(expected.value))
    assert job.wait().state == "failed"


def test_callback_goes_to_the_service(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="this service sends no webhooks"):
        client.submit(PHOTO, style="wave", callback_url="https://app.example/painted")


def test_threads_share_a_client(client: Client, root: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        pictures = list(threads.map(lambda seed: client.stylize(photo(seed), "wave"), range(24)))
    for seed, picture in enumerate(pictures):
        assert same(pixels(picture.bytes), painted(root, photo(seed)))


def test_busy_service_is_asked_again(root: Path) -> None:
    """It has room for one request, which is held until the other client has been refused and waits."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(0.05)

    with (
        serving(root, max_queue_requests=1) as live,
        connect(live) as client,
        connect(live, sleep=sleep, retry=RetryPolicy(retries=1000)) as patient,
        ThreadPoolExecutor(2) as threads,
    ):
        with held(live):
            first = threads.submit(client.stylize, PHOTO, "wave")
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda count: count == 1)
            second = threads.submit(patient.stylize, photo(1), "wave")
            wait_for(lambda: len(pauses), lambda count: count > 1)
        assert same(pixels(first.result().bytes), painted(root, photo()))
        assert same(pixels(second.result().bytes), painted(root, photo(1)))


def test_job_survives_a_restart_of_the_service(root: Path, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    with ThreadPoolExecutor(1) as threads, reserved_port() as port:
        with serving(root, jobs_folder=jobs, port=port, drain_seconds=0) as live, held(live):
            client = connect(live)
            job = client.submit(PHOTO, style="wave", id="lasting")
            waiting = threads.submit(job.wait)
            wait_for(job.status, lambda status: status.progress.tiles > 0)
        with serving(root, jobs_folder=jobs, port=port):
            assert waiting.result().state == "succeeded"
            assert same(pixels(job.result().bytes), painted(root, photo()))
            assert client.submit(PHOTO, style="wave", id="lasting").wait().ended
            client.close()


def test_key_is_sent_where_one_is_needed(root: Path, tmp_path: Path) -> None:
    sent = write_keys(tmp_path / "keys.toml", shop="")["shop"]["Authorization"].removeprefix("Bearer ")
    with serving(root, jobs_folder=tmp_path / "jobs", keys_file=tmp_path / "keys.toml") as live:
        with connect(live, key=sent) as client:
            assert client.stylize(PHOTO, "wave").media_type == "image/png"
            assert client.submit(PHOTO, style="wave").wait().state == "succeeded"
        for key in (None, "wrong"):
            with connect(live, key=key) as client, pytest.raises(AccessDenied):
                client.stylize(PHOTO, "wave")


def test_service_may_be_under_a_prefix(root: Path, tmp_path: Path) -> None:
    with serving(root, jobs_folder=tmp_path / "jobs", root_path="/pictures") as live:
        for url in (f"{live.url}/pictures", f"{live.url}/pictures/"):
            with Client(url, verify=False) as client:
                assert client.stylize(PHOTO, "wave").media_type == "image/png"
                assert client.submit(PHOTO, style="wave").result().media_type == "image/png"
                with pytest.raises(UnknownModel):
                    client.model("none")


def test_something_else_at_the_address_is_told() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>log in</html>"))
    with Client("http://here", transport=transport) as client:
        with pytest.raises(UnexpectedAnswer, match="text/plain and no image"):
            client.stylize(PHOTO, "wave")
        with pytest.raises(UnexpectedAnswer, match="http://here/v1/models answered with what is no ModelList"):
            client.models()
    with pytest.raises(ValueError, match="is no address"):
        Client("here")
