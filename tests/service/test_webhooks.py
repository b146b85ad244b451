"""Webhooks from the callback of a request to its receiver, over real HTTP."""

from pathlib import Path
from typing import Any

import httpx

from tests.service.http.routes.test_jobs import ended, jobs_of
from tests.service.http.webhooks.receiver import SECRET, Receiver, receiving, status
from tests.service.imaging.images import file, photo
from tests.service.live import Live, publish, serving_clients, wait_for

OPTIONS: dict[str, Any] = {"webhook_secret": SECRET, "webhook_hosts": "127.0.0.1", "webhook_retry_seconds": 0.01}


def put(live: Live, callback: str, name: str = "mine", content: bytes | None = None) -> httpx.Response:
    headers, image = {"X-Callback-URL": callback}, file(photo()) if content is None else content
    return live.client.put(f"/v1/jobs/{name}?style=wave", content=image, headers=headers)


def arrived(receiver: Receiver, count: int = 1) -> None:
    wait_for(lambda: len(receiver.received), lambda received: received >= count)


def test_receiver_is_told_what_get_says(tmp_path: Path) -> None:
    publish(tmp_path)
    with receiving() as receiver, serving_clients(tmp_path, **OPTIONS) as live:
        assert put(live, receiver.url).status_code == 201
        arrived(receiver)
        (received,) = receiver.received
        assert received.is_signed()
        assert received.path == "/painted?token=1"
        assert received.json == live.client.get("/v1/jobs/mine").json()
        assert received.json["state"] == "succeeded"
        wait_for(lambda: live.metric("pastiche_webhooks_total", outcome="delivered"), lambda count: count == 1)
        assert put(live, receiver.url).status_code == 200
        assert live.client.put("/v1/jobs/mine?style=wave", content=file(photo())).status_code == 200
        conflict = put(live, f"{receiver.url}2")
        assert (conflict.status_code, conflict.json()["type"]) == (409, "/problems/job-conflict")
    assert len(receiver.received) == 1


def test_every_way_to_create_a_job_has_callbacks(tmp_path: Path) -> None:
    publish(tmp_path)
    image = {"image": ("photo.png", file(photo()))}
    with receiving() as receiver, serving_clients(tmp_path, **OPTIONS) as live:
        headers = {"X-Callback-URL": receiver.url, "Prefer": "respond-async, wait=30"}
        assert live.client.post("/v1/stylize/wave", content=file(photo()), headers=headers).status_code == 200
        headers["Prefer"] = "respond-async"
        edit = live.client.post("/v1/images/edits", files=image, data={"model": "wave"}, headers=headers)
        assert edit.status_code == 202
        arrived(receiver, 2)
        assert edit.json()["id"] in {received.json["id"] for received in receiver.received}
        assert len({received.headers["webhook-id"] for received in receiver.received}) == 2


def test_job_that_fails_is_told_with_its_problem(tmp_path: Path) -> None:
    publish(tmp_path)
    with receiving() as receiver, serving_clients(tmp_path, root_path="/pastiche", **OPTIONS) as live:
        assert put(live, receiver.url, content=file(photo())[:-200]).status_code == 201
        arrived(receiver)
        (received,) = receiver.received
        assert received.json == live.client.get("/v1/jobs/mine").json()
    problem = received.json["problem"]["type"]
    assert (received.json["state"], problem) == ("failed", "/pastiche/problems/corrupt-image")


def test_receiver_that_fails_twice_gets_the_same_message_a_third_time(tmp_path: Path) -> None:
    publish(tmp_path)
    with receiving([status(500), status(503)]) as receiver, serving_clients(tmp_path, **OPTIONS) as live:
        put(live, receiver.url)
        arrived(receiver, 3)
        wait_for(lambda: live.metric("pastiche_webhooks_total", outcome="delivered"), lambda count: count == 1)
        assert live.metric("pastiche_webhook_attempts_total", result="refused") == 2
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert len({received.body for received in receiver.received}) == 1
    assert all(received.is_signed() for received in receiver.received)


def test_webhook_survives_a_restart(tmp_path: Path) -> None:
    publish(tmp_path)
    with receiving([status(500)]) as receiver:
        with serving_clients(tmp_path, **OPTIONS | {"webhook_retry_seconds": 3600.0}) as live:
            put(live, receiver.url)
            arrived(receiver)
            written = jobs_of(tmp_path) / "mine" / "delivery.json"
            wait_for(written.exists, lambda there: there)
        written.unlink()  # as if the process had ended before it could write
        with serving_clients(tmp_path, **OPTIONS) as live:
            arrived(receiver, 2)
            wait_for(lambda: live.metric("pastiche_webhooks_total", outcome="delivered"), lambda count: count == 1)
            told = live.client.get("/v1/jobs/mine").json()
        with serving_clients(tmp_path, **OPTIONS) as live:
            assert live.client.get("/v1/jobs/mine").status_code == 200
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.json == second.json == told


def test_webhook_of_a_deleted_job_is_dropped(tmp_path: Path) -> None:
    publish(tmp_path)
    patient = OPTIONS | {"webhook_retry_seconds": 3600.0}
    with receiving([status(500)] * 9) as receiver, serving_clients(tmp_path, **patient) as live:
        put(live, receiver.url)
        arrived(receiver)
        assert live.client.delete("/v1/jobs/mine").status_code == 204
        assert live.metric("pastiche_webhooks_total", outcome="dropped") == 1
        assert not (jobs_of(tmp_path) / "mine").exists()


def test_receiver_that_never_answers_holds_up_nobody(tmp_path: Path) -> None:
    publish(tmp_path)
    silent = [lambda handler: handler.rfile.read(1)] * 20
    with receiving(silent) as receiver, serving_clients(tmp_path, **OPTIONS, webhook_timeout=600.0) as live:
        for number in range(20):
            assert put(live, receiver.url, f"job-{number}").status_code == 201
        for number in range(20):
            assert ended(live.client, f"/v1/jobs/job-{number}")["state"] == "succeeded"
        arrived(receiver)
        assert live.client.post("/v1/stylize/wave", content=file(photo())).status_code == 200


UNREACHABLE = [
    ("http://example.com/", "must begin with https://"),
    ("https://127.0.0.2/", "no address was found"),
    ("https://[::1]/", "no address was found"),
    ("https://[::ffff:169.254.169.254]/", "no address was found"),
    ("https://2130706433/", "no address was found"),
    ("https://localhost/", "no address was found"),
    ("example.com", "must name a host"),
    (f"https://127.0.0.1:{10**24}/", "its port must be 1 to 65535"),
    ("http://127.0.0.1:65536/", "its port must be 1 to 65535"),
    ("https://xn--a/", "is no URL"),
]


def test_callback_that_must_not_be_reached_becomes_no_job(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving_clients(tmp_path, **OPTIONS) as live:
        for callback, reason in UNREACHABLE:
            refused = put(live, callback)
            assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-request")
            assert refused.json()["detail"].startswith("header.X-Callback-URL: ")
            assert reason in refused.json()["detail"]
            assert live.client.get("/v1/jobs/mine").status_code == 404


def test_callback_without_a_job_or_without_a_secret_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    headers = {"X-Callback-URL": "https://example.com/"}
    with serving_clients(tmp_path, **OPTIONS) as live:
        for path in ("/v1/stylize/wave", "/v1/images/edits"):
            refused = live.client.post(path, content=file(photo()), headers=headers)
            assert refused.status_code == 422
            assert "add `Prefer: respond-async`" in refused.text
    with serving_clients(tmp_path) as live:
        off = put(live, "https://example.com/")
        assert off.status_code == 422
        assert "it has no webhook_secret" in off.json()["detail"]
