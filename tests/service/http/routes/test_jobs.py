import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, publish, publish_upscaler, serving, wait_for
from tests.service.test_server import process

ASYNC = {"Prefer": "respond-async"}


def begin(live: Live, content: bytes, query: str = "", **headers: str) -> str:
    """Where the new job is."""
    answer = live.client.post(f"/v1/stylize/wave{query}", content=content, headers=ASYNC | headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Preference-Applied"] == "respond-async"
    location = answer.headers["Location"]
    assert location == f"/v1/jobs/{answer.json()['id']}"
    return location


def ended(client: httpx.Client, location: str) -> dict[str, Any]:
    """The state of the job when it is finished."""
    seen = wait_for(lambda: client.get(location).json(), lambda job: job["state"] in ("succeeded", "failed"))
    assert isinstance(seen, dict)
    return seen


def test_job_gives_what_the_call_gives(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        at_once = live.client.post("/v1/stylize/wave?format=webp", content=file(photo()))
        location = begin(live, file(photo()), "?format=webp", **{"X-Request-ID": "mine"})
        job = ended(live.client, location)
        fetched = live.client.get(f"{location}/result")
        assert job["state"] == "succeeded"
        assert job["task"] == "stylize"
        assert job["progress"] == {"tiles": 1, "done": 1}
        assert job["created"] <= job["started"] <= job["finished"] < job["expires"]
        assert list(job["seconds"]) == ["decode", "queue", "infer", "encode"]
        assert job["result"]["etag"] == fetched.headers["ETag"] == at_once.headers["ETag"]
        assert (job["result"]["width"], job["result"]["height"], job["result"]["bytes"]) == (
            32,
            24,
            len(at_once.content),
        )
        assert job["result"]["models"][0]["name"] == "wave"
        assert fetched.content == at_once.content
        assert fetched.headers["Content-Type"] == "image/webp"
        assert fetched.headers["X-Model"] == "wave@1"
        assert live.metric("pastiche_jobs", state="succeeded") == 1
        assert live.metric("pastiche_jobs_ended_total", state="succeeded") == 1
        assert live.metric("pastiche_jobs_bytes") > len(fetched.content)


def test_client_that_has_the_result_does_not_get_it_again(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        location = begin(live, file(photo()))
        etag = ended(live.client, location)["result"]["etag"]
        for offered in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = live.client.get(f"{location}/result", headers={"If-None-Match": offered})
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
        as_json = {"Accept": "application/json"}
        other = live.client.get(f"{location}/result", headers={"If-None-Match": '"other"'})
        assert other.status_code == 200
        answer = live.client.get(f"{location}/result", headers=as_json | {"If-None-Match": etag})
        assert answer.json()["etag"] == etag  # who has the file does not have the JSON
        tag = answer.headers["ETag"]
        for offered in (tag, tag.removeprefix("W/"), f"{etag}, {tag}", "*"):
            answer = live.client.get(f"{location}/result", headers=as_json | {"If-None-Match": offered})
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
        assert live.client.get(f"{location}/result", headers={"If-None-Match": tag}).headers["ETag"] == etag


def test_job_that_fails_has_the_problem_of_the_call(tmp_path: Path) -> None:
    publish(tmp_path)
    content = file(photo())[:-200]
    with serving(tmp_path) as live:
        expected = live.client.post("/v1/stylize/wave", content=content)
        location = begin(live, content)
        job = ended(live.client, location)
        answer = live.client.get(f"{location}/result")
    assert (job["state"], job["result"]) == ("failed", None)
    assert answer.status_code == expected.status_code == 400
    for told in (job["problem"], answer.json()):
        assert told | {"instance": ""} == expected.json() | {"instance": ""}


def test_failure_that_may_pass_asks_for_no_other_look_at_the_result(tmp_path: Path) -> None:
    """The job has failed for good: generic clients would send a 503 again and again."""
    publish(tmp_path)
    waiting = ASYNC | {"X-Request-Timeout": "1", "Idempotency-Key": '"once"'}
    with serving(tmp_path, max_queue_requests=1, max_running_jobs=1) as live, ThreadPoolExecutor(1) as clients:
        with held(live):
            first = clients.submit(live.client.post, "/v1/stylize/wave", content=file(photo()))
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            begun = live.client.post("/v1/stylize/wave", content=file(photo(1)), headers=waiting)
            job = ended(live.client, begun.headers["Location"])
        first.result()
        answers = [live.client.get(f"{begun.headers['Location']}/result")]
        again = waiting | {"Prefer": "respond-async, wait=5"}
        answers.append(live.client.post("/v1/stylize/wave", content=file(photo(1)), headers=again))
    assert (job["state"], job["problem"]["type"], job["problem"]["status"]) == ("failed", "/problems/overloaded", 503)
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (424, "/problems/job-failed")
        assert answer.json()["problem"] == job["problem"]
        assert "Retry-After" not in answer.headers


def test_request_that_can_be_refused_becomes_no_job(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:

        def post(path: str, content: bytes = b"no image", **headers: str) -> tuple[int, str]:
            answer = live.client.post(path, content=content, headers=ASYNC | headers)
            return answer.status_code, answer.json()["type"]

        assert post("/v1/stylize/cats") == (404, "/problems/unknown-model")
        assert post("/v1/stylize/wave?quality=0") == (422, "/problems/invalid-request")
        assert post("/v1/stylize/wave", Accept="image/bmp") == (406, "/problems/not-acceptable")
        assert post("/v1/stylize/wave") == (415, "/problems/unsupported-image")
        assert live.metric("pastiche_jobs") == 0


def test_client_may_rather_wait(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        waiting = {"Prefer": "respond-async, wait=30"}
        answer = live.client.post("/v1/stylize/wave", content=file(photo()), headers=waiting)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
        assert answer.headers["Preference-Applied"] == "wait"
        with held(live):
            late = live.client.post(
                "/v1/stylize/wave", content=file(photo(1)), headers={"Prefer": "respond-async, wait=1"}
            )
            assert (late.status_code, late.headers["Preference-Applied"]) == (202, "respond-async")
            assert late.json()["state"] in ("queued", "running")


def test_unfinished_job_says_how_far_it_is(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, tile_values=2**16, max_running_jobs=1) as live:
        with held(live):
            location = begin(live, file(photo(height=300, width=400)))
            seen = live.until(location, lambda answer: answer.json()["progress"]["tiles"] > 1).json()
            behind = live.client.get(begin(live, file(photo()))).json()
            early = live.client.get(f"{location}/result")
        assert (seen["state"], seen["progress"]["done"]) == ("running", 0)
        assert (behind["state"], behind["started"]) == ("queued", None)
        assert (early.status_code, early.json()["type"]) == (409, "/problems/job-unfinished")
        assert early.headers["Retry-After"] == "1"
        job = ended(live.client, location)
        assert job["progress"]["done"] == job["progress"]["tiles"] == seen["progress"]["tiles"]


def test_deleted_job_frees_the_device_and_is_gone(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, tile_values=2**16) as live:
        with held(live):
            location = begin(live, file(photo(height=300, width=400)))
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            assert live.client.delete(location).status_code == 204
            assert live.metric("pastiche_admitted_requests") == 0
        for path in (location, f"{location}/result"):
            answer = live.client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-job")
        assert live.client.delete(location).status_code == 404
        assert live.metric("pastiche_jobs_ended_total", state="cancelled") == 1
        assert not any(entry.name != ".lock" for entry in jobs_of(tmp_path).iterdir())
        finished = begin(live, file(photo()))
        ended(live.client, finished)
        assert live.client.delete(finished).status_code == 204
        assert live.client.get(finished).status_code == 404


def jobs_of(root: Path) -> Path:
    """The folder of the jobs of a test's service."""
    return root.parent / f"{root.name}-jobs"


def test_job_under_an_id_of_the_client_is_begun_once(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live:

        def put(query: str, content: bytes = file(photo()), **headers: str) -> httpx.Response:
            return live.client.put(f"/v1/jobs/mine?{query}", content=content, headers=headers)

        first = put("style=wave&quality=80&format=jpeg")
        assert (first.status_code, first.headers["Location"]) == (201, "/v1/jobs/mine")
        created = ended(live.client, "/v1/jobs/mine")["created"]
        again = put("format=jpeg&style=wave&quality=80", Accept="image/webp")
        assert (again.status_code, again.json()["created"]) == (200, created)
        assert live.metric("pastiche_batch_size_count") == 1
        for query, content in (("style=wave&quality=81&format=jpeg", file(photo())), ("style=wave", file(photo(1)))):
            conflict = put(query, content)
            assert (conflict.status_code, conflict.json()["type"]) == (409, "/problems/job-conflict")
        assert live.client.delete("/v1/jobs/mine").status_code == 204
        assert put("scale=4&model=x4").status_code == 201
        assert ended(live.client, "/v1/jobs/mine")["result"]["width"] == 128
        assert put("scale=4.0&model=x4").status_code == 200
        assert put("scale=2.5&model=x4").status_code == 409
        assert live.client.put("/v1/jobs/smaller?scale=2.53", content=file(photo())).status_code == 201
        smaller = ended(live.client, "/v1/jobs/smaller")["result"]
        assert (smaller["width"], smaller["height"]) == (81, 61)


def test_call_that_is_sent_again_with_its_key_is_the_same_job(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:

        def post(key: str, query: str = "", content: bytes = file(photo()), wait: str = "") -> httpx.Response:
            headers = {"Prefer": f"respond-async{wait}", "Idempotency-Key": key}
            return live.client.post(f"/v1/stylize/wave{query}", content=content, headers=headers)

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(post, ['"mine"', '"mine"'])
        location = first.headers["Location"]
        assert (first.status_code, second.status_code) == (202, 202)
        assert second.headers["Location"] == location != post('"other"').headers["Location"]
        finished = ended(live.client, location)
        assert post("mine").json()["created"] == finished["created"]
        image = post('"mine"', wait=", wait=10")
        assert (image.status_code, image.content) == (200, live.client.get(f"{location}/result").content)
        for query, content in (("?quality=7&format=jpeg", file(photo())), ("", file(photo(1)))):
            refused = post('"mine"', query, content)
            assert (refused.status_code, refused.json()["type"]) == (422, "/problems/idempotency-key-reused")
        malformed = post('"mine')
        assert malformed.status_code == 422
        assert malformed.json()["detail"].startswith("header.Idempotency-Key: one key of 1 to 255")
        assert live.client.delete(location).status_code == 204
        assert ended(live.client, post('"mine"').headers["Location"])["created"] > finished["created"]
        headers = {"Idempotency-Key": '"mine'}
        assert live.client.post("/v1/stylize/wave", content=file(photo()), headers=headers).status_code == 200


def test_job_that_is_not_one_thing_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    faults = {
        "mine?quality=80": "one of them",
        "mine?style=wave&scale=4": "not both",
        "mine?style=wave&model=x4": "query.model: not for a job with style",
        "mine?style=wave&colour=no": "query.colour: no such parameter; /v1/jobs/{id} knows ",
        ".hidden?style=wave": "path.id",
        "a b?style=wave": "path.id",
        f"{'x' * 65}?style=wave": "path.id",
    }
    with serving(tmp_path) as live:
        for path, said in faults.items():
            answer = live.client.put(f"/v1/jobs/{path}", content=file(photo()))
            assert answer.status_code == 422
            assert said in answer.json()["detail"]


def test_only_so_many_jobs_are_taken_on(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, max_jobs=2, max_running_jobs=1) as live, held(live):
        begin(live, file(photo()))
        begin(live, file(photo(1)))
        refused = live.client.post("/v1/stylize/wave", content=file(photo(2)), headers=ASYNC)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/too-many-jobs")
        assert refused.headers["Retry-After"] == "5"


def test_job_waits_where_a_request_would_be_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, max_queue_requests=1) as live, ThreadPoolExecutor(1) as clients:
        with held(live):
            first = clients.submit(live.client.post, "/v1/stylize/wave", content=file(photo()))
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            assert live.client.post("/v1/stylize/wave", content=file(photo(1))).status_code == 503
            location = begin(live, file(photo(1)))
        assert first.result().status_code == 200
        assert ended(live.client, location)["state"] == "succeeded"


def test_results_are_kept_for_a_bounded_time(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, job_seconds=0.2) as live:
        location = begin(live, file(photo()))
        live.until(location, lambda answer: answer.status_code == 404)
        assert live.metric("pastiche_jobs_ended_total", state="succeeded") == 1
        wait_for(lambda: list(jobs_of(tmp_path).glob("[!.]*")), lambda left: not left)


def test_results_are_kept_in_a_bounded_space(tmp_path: Path) -> None:
    """The oldest makes room for the newest; what is too large alone is said to be."""
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving(tmp_path, job_bytes=12_000) as live:
        locations = [begin(live, file(photo(seed))) for seed in range(1)]
        ended(live.client, locations[0])
        for seed in range(1, 6):
            locations.append(begin(live, file(photo(seed))))
            ended(live.client, locations[-1])
        assert live.client.get(locations[0]).status_code == 404
        assert live.client.get(f"{locations[-1]}/result").status_code == 200
        assert live.metric("pastiche_jobs_bytes") <= 12_000
        large = live.client.put("/v1/jobs/large?scale=4&format=png", content=file(photo(height=40, width=40)))
        assert large.status_code == 201
        job = ended(live.client, "/v1/jobs/large")
        assert (job["problem"]["type"], job["problem"]["status"]) == ("/problems/result-too-large", 507)
        noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
        refused = live.client.put("/v1/jobs/huge?style=wave", content=file(noise))
        assert refused.json()["type"] == "/problems/too-many-jobs"


def test_job_that_ends_the_service_each_time_is_given_up(tmp_path: Path) -> None:
    publish(tmp_path, built=network())
    with serving(tmp_path, tile_values=2**16) as live:
        location = begin(live, file(photo(height=1500, width=2000), compress_level=1), "?size=native")
        live.until(location, lambda answer: answer.json()["progress"]["done"] > 0)
        attempts = jobs_of(tmp_path) / location.rpartition("/")[2] / "attempts"
        assert attempts.read_text() == "1"
    assert attempts.read_text() == "0"  # an orderly stop is not held against it
    attempts.write_text("3")
    with serving(tmp_path) as live:
        assert ended(live.client, location)["problem"]["type"] == "/problems/job-lost"


def test_what_is_no_job_does_no_harm(tmp_path: Path) -> None:
    publish(tmp_path)
    for name in ("empty", "broken"):
        (jobs_of(tmp_path) / name).mkdir(parents=True)
    (jobs_of(tmp_path) / "broken" / "job.json").write_text("{}")
    with serving(tmp_path) as live:
        assert live.client.get("/v1/jobs/broken").status_code == 404
        assert ended(live.client, begin(live, file(photo())))["state"] == "succeeded"


def test_folder_belongs_to_one_service(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as one:
        begin(one, file(photo()))
        with serving(tmp_path) as other:
            refused = other.client.post("/v1/stylize/wave", content=file(photo()), headers=ASYNC)
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/jobs-unavailable")
            assert other.client.post("/v1/stylize/wave", content=file(photo())).status_code == 200


def test_killed_service_still_answers_a_finished_job_and_ends_an_unfinished_one(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    content = file(photo())
    with process(tmp_path / "models") as served:
        assert served.client.put("/v1/jobs/done?style=wave", content=content).status_code == 201
        finished = ended(served.client, "/v1/jobs/done")
        result = served.client.get("/v1/jobs/done/result").content
        large = file(photo(height=1500, width=2000), compress_level=1)
        assert served.client.put("/v1/jobs/large?style=wave&size=native", content=large).status_code == 201
        wait_for(lambda: served.client.get("/v1/jobs/large").json()["state"], lambda state: state == "running")
        served.handle.send_signal(signal.SIGKILL)
        served.handle.wait()
    with process(tmp_path / "models") as served:
        assert served.client.get("/v1/jobs/done").json() == finished
        assert served.client.get("/v1/jobs/done/result").content == result
        assert served.client.put("/v1/jobs/done?style=wave", content=content).status_code == 200
        job = ended(served.client, "/v1/jobs/large")
        assert (job["state"], job["result"]["width"], job["result"]["height"]) == ("succeeded", 2000, 1500)
