from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx

from tests.networks import network
from tests.service.full import STYLE
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import Live, publish, serving
from tests.service.models.test_store_watcher import corrupt

ROUNDS = 6


def test_operator_promotes_rolls_back_and_reloads(tmp_path: Path) -> None:
    path, root = tmp_path / "keys.toml", tmp_path / "models"
    sent = write_keys(path, operator='rights = ["admin", "use"]')["operator"]
    publish(root)
    publish(root)
    with serving(root, keys_file=path, store_poll_seconds=3600) as live:
        live.client.headers.update(sent)

        def post(below: str, body: object = None) -> httpx.Response:
            return live.client.post(f"/v1/admin/{below}", json=body)

        promoted = post("models/wave/promote", {"version": 1})
        assert promoted.status_code == 200
        assert promoted.json() == {key: live.client.get("/v1/models/wave").json()[key] for key in promoted.json()}
        assert promoted.json()["version"] == 1
        assert post("models/wave/promote", {"version": 2}).json()["version"] == 2
        assert post("models/wave/rollback").json()["version"] == 1
        publish(root, "night")
        assert live.client.get("/v1/models/night").status_code == 404
        assert post("reload").json() == {"models": ["night@1", "wave@1"], "failed": {}}
        corrupt(root, "wave", 2)
        for below, body, status, kind in (
            ("models/wave/promote", {"version": 9}, 404, "unknown-version"),
            ("models/none/promote", {"version": 1}, 404, "unknown-model"),
            ("models/wave/promote", {"version": 0}, 422, "invalid-request"),
            ("models/wave/promote", {"number": 1}, 422, "invalid-request"),
            ("models/wave/promote", None, 422, "invalid-request"),
            ("models/wave/rollback", None, 404, "unknown-version"),
            ("models/wave/promote", {"version": 2}, 409, "version-refused"),
        ):
            answer = post(below, body)
            assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
        assert live.client.get("/v1/models/wave").json()["version"] == 1


def test_changes_under_load_fail_no_request(tmp_path: Path) -> None:
    path, root = tmp_path / "keys.toml", tmp_path / "models"
    sent = write_keys(path, operator='rights = ["admin", "use"]')["operator"]
    for seed in range(2):
        publish(root, built=network(seed=seed))
    with serving(root, keys_file=path) as live, ThreadPoolExecutor(2) as clients:
        live.client.headers.update(sent)
        stop = Event()
        loads = [clients.submit(stylize_until, stop, live, sent) for _ in range(2)]
        for _ in range(ROUNDS):
            assert live.client.post("/v1/admin/models/wave/promote", json={"version": 2}).status_code == 200
            assert live.client.post("/v1/admin/models/wave/rollback").status_code == 200
            assert live.client.post("/v1/admin/reload").status_code == 200
        stop.set()
        seen = {status for load in loads for status, _ in load.result()}
        models = {model for load in loads for _, model in load.result()}
    assert seen == {200}
    assert models <= {"wave@1", "wave@2"}


def stylize_until(stop: Event, live: Live, sent: dict[str, str]) -> set[tuple[int, str]]:
    """Statuses and models of requests one after the other, until told to stop."""
    seen, content = set(), file(photo())
    with httpx.Client(base_url=live.url, headers=sent, timeout=60) as client:
        while not stop.is_set():
            answer = client.post(STYLE, content=content)
            seen.add((answer.status_code, answer.headers.get("X-Model", "")))
    return seen
