from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.service.http.routes.test_images import leaving
from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, publish, serving, wait_for


def post(live: Live, content: bytes, query: str = "", **headers: str) -> httpx.Response:
    """A client of its own, so that several can wait at the same time."""
    return httpx.post(f"{live.url}/v1/stylize/wave{query}", content=content, headers=headers, timeout=60)


def coalesced(live: Live, count: int) -> None:
    wait_for(lambda: live.metric("pastiche_cache_requests_total", result="coalesced"), lambda seen: seen == count)


def test_identical_requests_in_flight_are_computed_once(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(8) as clients:
        with held(live):
            same = [clients.submit(post, live, file(photo())) for _ in range(5)]
            other = clients.submit(post, live, file(photo()), "?format=webp")
            coalesced(live, 4)
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 2)
        answers = [answer.result() for answer in same]
        assert {answer.status_code for answer in answers} == {other.result().status_code} == {200}
        assert len({answer.content for answer in answers}) == len({answer.headers["ETag"] for answer in answers}) == 1
        assert other.result().headers["ETag"] != answers[0].headers["ETag"]
        timings = sorted("shared;dur=" in answer.headers["Server-Timing"] for answer in answers)
        assert timings == [False, True, True, True, True]
        assert live.metric("pastiche_batch_size_count") == 2
        assert live.metric("pastiche_cache_requests_total", result="miss") == 2
        assert post(live, file(photo())).headers["ETag"] == answers[0].headers["ETag"]
        assert live.metric("pastiche_batch_size_count") == 3  # coalescing remembers nothing


def test_one_that_leaves_takes_nothing_from_the_others(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(1) as clients:
        with held(live):
            with leaving(live, file(photo())):
                wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
                stays = clients.submit(post, live, file(photo()))
                coalesced(live, 1)
            wait_for(lambda: live.metric("pastiche_http_requests_total", code="499"), lambda left: left == 1)
            assert live.metric("pastiche_admitted_requests") == 1
        assert stays.result().status_code == 200
        assert live.metric("pastiche_batch_size_count") == 1


def test_work_ends_when_the_last_one_has_left(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        with held(live):
            with leaving(live, file(photo())):
                wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
                with leaving(live, file(photo())):
                    coalesced(live, 1)
            wait_for(lambda: live.metric("pastiche_http_requests_total", code="499"), lambda left: left == 2)
            assert live.metric("pastiche_admitted_requests") == 0
        assert post(live, file(photo())).status_code == 200


def test_patient_request_outlasts_an_impatient_one_that_it_joined(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(2) as clients:
        with held(live):
            hurried: Future[httpx.Response] = clients.submit(post, live, file(photo()), **{"X-Request-Timeout": "5"})
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            patient = clients.submit(post, live, file(photo()))
            coalesced(live, 1)
            assert hurried.result().status_code == 504
            assert not patient.done()
        assert patient.result().status_code == 200


def test_impatient_request_does_not_wait_for_a_patient_one(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(1) as clients:
        with held(live):
            patient = clients.submit(post, live, file(photo()))
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            hurried = post(live, file(photo()), **{"X-Request-Timeout": "0.3"})
            ended = (503, "/problems/overloaded"), (504, "/problems/deadline-exceeded")  # 503: on a busy machine
            assert (hurried.status_code, hurried.json()["type"]) in ended
        assert patient.result().status_code == 200


def test_coalescing_can_be_switched_off(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, coalesce=False) as live, ThreadPoolExecutor(2) as clients:
        with held(live):
            answers = [clients.submit(post, live, file(photo())) for _ in range(2)]
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 2)
        assert answers[0].result().content == answers[1].result().content
        assert live.metric("pastiche_batch_size_count") == 2
