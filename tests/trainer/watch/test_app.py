import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.trainer.watch.pages import begun, running
from trainer.monitor import Phase, TrainingMonitor
from trainer.watch.app import TOKEN_HEADER, Watch, create_app

TOKEN = "known-to-the-page"
HERE = "http://127.0.0.1:8100"


@pytest.fixture
def monitor() -> TrainingMonitor:
    return running()


@pytest.fixture
def told() -> list[Phase]:
    return []


@pytest.fixture
def client(tmp_path: Path, monitor: TrainingMonitor, told: list[Phase]) -> TestClient:
    config, run = begun(tmp_path)
    app = create_app(Watch(monitor, run, config, TOKEN, told.append), host="127.0.0.1", token=TOKEN)
    return TestClient(app, base_url=HERE)


def test_page_asks_nobody_else_and_has_no_cookies(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert "Set-Cookie" not in answer.headers
    assert f'content="{TOKEN}"' in answer.text
    assert re.findall(r"https?://|<script>|<style|{{|style=", answer.text) == []


def test_everything_that_the_page_refers_to_is_there(client: TestClient) -> None:
    page = client.get("/").text
    for name in re.findall(r'(?:href|src)="([^"]+)"', page):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    ids = set(re.findall(r' id="([\w-]+)"', page))
    script = client.get("/script.js").text
    assert set(re.findall(r'(?:element|setText)\("([\w-]+)"', script)) <= ids


def test_status_tells_how_the_training_stands(client: TestClient, monitor: TrainingMonitor, told: list[Phase]) -> None:
    found = client.get("/status").json()
    assert (found["name"], found["title"], found["phase"]) == ("wave", "The <Wave>", "training")
    assert (found["step"], found["steps"], found["previews"]) == (20, 100, [10, 20])
    assert (Path(found["store"]).name, found["preview_every"], found["log_every"]) == ("models", 3, 2)
    monitor.end("that was it")
    assert client.get("/status").json()["message"] == "that was it"
    assert told == ["training", "ended"]


def test_previews_of_an_earlier_run_are_not_shown(client: TestClient, monitor: TrainingMonitor) -> None:
    monitor.advance(15)
    assert client.get("/status").json()["previews"] == [10]


def test_metrics_are_read_from_where_the_page_had_come_to(client: TestClient) -> None:
    first = client.get("/metrics").json()
    assert [line["step"] for line in first["lines"]] == list(range(2, 21, 2))
    assert client.get(f"/metrics?from={first['next']}").json() == {"next": first["next"], "lines": []}
    assert client.get("/metrics?from=0").json() == first


@pytest.mark.parametrize(
    "query",
    ["from=1", "from=40", "from=999999", "from=-1", "from=", "from=all", "from=²", "from=0&from=0"]
    + [f"from={'9' * digits}" for digits in (15, 30, 5000)],
)
def test_metrics_are_read_from_the_beginning_of_a_line_alone(client: TestClient, query: str) -> None:
    answer = client.get(f"/metrics?{query}")
    assert answer.status_code == 400
    assert "from is " in answer.text
    assert answer.text.endswith("0, or what the last answer had as next")


def test_a_run_without_metrics_has_none_from_the_beginning_alone(tmp_path: Path) -> None:
    config, run = begun(tmp_path)
    run.metrics_file.unlink()
    app = create_app(Watch(running(), run, config, TOKEN, print), host="127.0.0.1", token=TOKEN)
    client = TestClient(app, base_url=HERE)
    assert client.get("/metrics").json() == {"next": 0, "lines": []}
    assert client.get("/metrics?from=70").status_code == 400


def test_previews_are_pictures_and_nothing_else_is_readable(client: TestClient) -> None:
    assert client.get("/previews/10.png").content.startswith(b"\x89PNG")
    for path in (
        "/previews/11.png",
        f"/previews/{'9' * 5000}.png",
        "/previews/..%2Fstate.pt",
        "/state.pt",
        "/previews/config.json",
    ):
        assert client.get(path).status_code == 404


def test_page_may_stop_and_publish(client: TestClient, monitor: TrainingMonitor) -> None:
    headers = {TOKEN_HEADER: TOKEN, "Origin": HERE}
    assert client.post("/publish", headers=headers).status_code == 202
    assert monitor.status.phase == "publishing"
    assert not monitor.stop_requested.is_set()
    assert client.post("/stop", headers={TOKEN_HEADER: TOKEN}).status_code == 202
    assert monitor.stop_requested.is_set()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({TOKEN_HEADER: "guessed"}, 403),
        ({TOKEN_HEADER: "é".encode("latin-1").decode("latin-1")}, 403),
        ({TOKEN_HEADER: TOKEN, "Origin": "http://evil.example"}, 403),
        ({TOKEN_HEADER: TOKEN, "Origin": "null"}, 403),
        ({TOKEN_HEADER: TOKEN, "Origin": "http://[::1"}, 403),
        ({TOKEN_HEADER: TOKEN, "Host": "evil.example"}, 421),
        ({TOKEN_HEADER: TOKEN, "Host": "[:"}, 421),
    ],
)
def test_others_may_not(client: TestClient, monitor: TrainingMonitor, headers: dict[str, str], status: int) -> None:
    for path in ("/stop", "/publish"):
        encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        assert client.post(path, headers=encoded).status_code == status
    assert not monitor.wants_state


def test_names_of_others_do_not_reach_the_page(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example:8100"}).status_code == 421
    assert client.get("/", headers={"Host": "localhost:9000"}).status_code == 200  # a tunnel to this machine
    assert client.get("/stop").status_code == 405
