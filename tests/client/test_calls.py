import json
import math

import httpx
import numpy as np
import pytest

from client.answers import JobStatus
from client.calls import Calls, Task, model_path
from client.flow import Flow, Pause, Send, T
from client.request import Request
from client.retries import RetryPolicy

JOB = {"id": "a b", "task": "stylize", "created": "2026-01-01T00:00:00Z", "seconds": {}}


def answer(state: str, done: int = 0, tiles: int = 4) -> httpx.Response:
    body = {**JOB, "state": state, "progress": {"tiles": tiles, "done": done}}
    return httpx.Response(200, json=body, request=httpx.Request("GET", "http://here"))


def run(flow: Flow[T], *answers: httpx.Response) -> tuple[T, list[Request], list[float]]:
    """The result of a flow with these answers, what it sent, and its pauses."""
    waiting, sent, pauses = list(answers), list[Request](), list[float]()
    reply: httpx.Response | None = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as end:
            return end.value, sent, pauses
        match step:
            case Send():
                sent.append(step.request)
                reply = waiting.pop(0)
            case Pause():
                pauses.append(step.seconds)
                reply = None


def test_job_is_looked_at_until_it_has_changed() -> None:
    last = JobStatus.model_validate_json(answer("queued").content)
    unchanged = [answer("queued")] * 6
    status, sent, pauses = run(Calls().next_status(last, math.inf), *unchanged, answer("running", 1))
    assert (status.state, status.progress.done) == ("running", 1)
    assert {request.path for request in sent} == {"/v1/jobs/a%20b"}
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1])


def test_ended_job_is_news_and_an_end_is_kept() -> None:
    last = JobStatus.model_validate_json(answer("succeeded", 4).content)
    assert run(Calls().next_status(last, math.inf), answer("succeeded", 4))[0] == last
    calls = Calls(RetryPolicy(clock=lambda: 5))
    with pytest.raises(TimeoutError, match="job 'a b' is queued still"):
        run(calls.next_status(JobStatus.model_validate_json(answer("queued").content), 5), answer("queued"))


def test_submission_chooses_an_id_and_keeps_to_it() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "1"})
    task = Task.of("wave", None, {"strength": 0.5, "size": None})
    flow = Calls(timeout=9).submit(b"image", task, None, None, None, "https://here.example")
    _, sent, pauses = run(flow, busy, busy, answer("queued"))
    assert len(sent) == 3
    assert len({request.path for request in sent}) == 1
    assert len(sent[0].path) == len("/v1/jobs/") + 32
    assert sent[0].query == {"style": "wave", "strength": "0.5"}
    assert sent[0].headers == {"X-Callback-URL": "https://here.example"}
    assert sent[0].timeout is None  # a job is not given up because one image would be
    assert pauses == [1, 1]


def test_callback_may_have_any_letters() -> None:
    flow = Calls().submit(b"image", Task.of("wave", None, {}), "a", None, None, "https://bücher.example/")
    _, (request,), _ = run(flow, answer("queued"))
    with httpx.Client(base_url="http://here") as http:
        assert request.build(http, math.inf).headers["X-Callback-URL"] == "https://xn--bcher-kva.example/"


def test_timeout_of_the_call_comes_before_that_of_the_client() -> None:
    png = httpx.Response(200, headers={"Content-Type": "image/png"})
    for given, expected in ((None, 9), (3, 3)):
        _, [sent], _ = run(Calls(timeout=9).upscale(b"image", 2.5, given, {}), png)
        assert (sent.path, sent.timeout) == ("/v1/upscale/2.5", expected)


def test_estimate_describes_the_image() -> None:
    unknown = dict.fromkeys(("problem", "output", "pixels", "inferences", "tiles", "queue_seconds", "infer_seconds"))
    body = httpx.Response(200, json={"accepted": True, "models": [], **unknown})
    expected = {"task": "upscale", "scale": 4, "width": 4, "height": 3, "options": {"width": 9}}
    for client, call, seconds in ((None, None, None), (9, None, 9), (9, 3, 3), (None, 3, 3)):
        calls = Calls(timeout=client)
        flow = calls.estimate(Task.of(None, 4, {"width": 9}), {"width": 4, "height": 3}, call)
        _, [sent], _ = run(flow, body)
        assert json.loads(sent.content) == expected | {"timeout": seconds}


def test_estimate_takes_the_numbers_of_numpy_as_the_calls_do() -> None:
    whole, half, yes = np.arange(5)[4], np.ones(1, np.float32)[0] / 2, np.ones(1, bool)[0]
    task = Task.of(None, whole, {"width": whole, "denoise": half, "back_projection": yes})
    step = next(Calls().estimate(task, {"width": whole, "height": 3}, half))
    assert isinstance(step, Send)
    options = {"width": 4, "denoise": 0.5, "back_projection": True}
    expected = {"task": "upscale", "scale": 4, "width": 4, "height": 3, "timeout": 0.5, "options": options}
    assert json.loads(step.request.content or b"") == expected
    with pytest.raises(TypeError, match="options are texts, numbers and booleans"):
        next(Calls().estimate(Task.of("wave", None, {"size": object()}), {}, None))


def test_names_in_paths_are_quoted() -> None:
    assert model_path("a/b?c") == "/v1/models/a%2Fb%3Fc"
    png = httpx.Response(200, headers={"Content-Type": "image/png"})
    _, [sent], _ = run(Calls().stylize(b"image", "a/b:1,c", None, None, {}), png)
    assert sent.path == "/v1/stylize/a%2Fb:1,c"
