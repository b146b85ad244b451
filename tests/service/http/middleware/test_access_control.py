import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from service.http.access.api_key import Right
from service.http.middleware.access_control import needed_right
from tests.service.full import STYLE
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, held, publish, serving, serving_clients, wait_for

SMALL = file(photo())


def kind(answer: httpx.Response) -> tuple[int, str]:
    """The status, and the kind of the problem."""
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/", None),
        ("/docs", None),
        ("/problems/overloaded", None),
        ("/static-offline-docs/swagger-ui.css", None),
        ("/metrics", Right.METRICS),
        ("/v1/admin", Right.ADMIN),
        ("/v1/admin/reload", Right.ADMIN),
        ("/v1/administrators", Right.USE),
        ("/v1/models", Right.USE),
        ("/nothing", Right.USE),
    ],
)
def test_path_needs_a_right(path: str, right: Right | None) -> None:
    assert needed_right(path) is right


def test_service_without_keys_is_open_but_for_administration(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        assert live.client.get("/v1/models").status_code == live.client.get("/metrics").status_code == 200
        assert live.client.get("/v1/models", headers={"Authorization": "Bearer none"}).status_code == 200
        assert kind(live.client.post("/v1/admin/reload")) == (404, "not-found")


def described_security(document: dict[str, Any], path: str) -> Any:
    """How the OpenAPI document has keys sent to a path that is read."""
    return document["paths"][path]["get"]["security"]


def test_request_without_a_known_key_is_told_how_to_send_one(tmp_path: Path) -> None:
    sent = write_keys(tmp_path / "keys.toml", shop="")["shop"]
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=tmp_path / "keys.toml") as live:
        for path in ("/v1/models", "/v1/models/", "/metrics", "/nothing"):
            missing = live.client.get(path)
            assert kind(missing) == (401, "unauthorized")
            assert missing.headers["WWW-Authenticate"] == 'Bearer realm="pastiche"'
        wrong = live.client.get("/v1/models", headers={"X-API-Key": "guess"})
        assert kind(wrong) == (401, "unauthorized")
        assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="pastiche", error="invalid_token"'
        key = sent["Authorization"].removeprefix("Bearer ")
        for headers in (sent, {"X-API-Key": key}, {"Authorization": "Basic eA==", "X-API-Key": key}):
            assert live.client.get("/v1/models", headers=headers).status_code == 200
        for path in ("/", "/livez", "/readyz", "/docs", "/openapi.json", "/problems"):
            assert live.client.get(path).status_code == 200
        document = live.client.get("/openapi.json").json()
        ways: list[dict[str, list[str]]] = [{name: []} for name in document["components"]["securitySchemes"]]
        assert document["security"] == described_security(document, "/v1/models") == ways
        assert described_security(document, "/livez") == described_security(document, "/problems") == []
        assert kind(live.client.post("/v1/admin/reload")) == (404, "not-found")  # no key has the right


def test_key_without_the_right_is_forbidden(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="", scraper='rights = ["metrics"]', operator='rights = ["admin"]')
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path) as live:
        assert live.client.get("/metrics", headers=sent["scraper"]).status_code == 200
        refused = live.client.post("/v1/admin/reload", headers=sent["shop"])
        assert kind(refused) == (403, "forbidden")
        challenge = 'Bearer realm="pastiche", error="insufficient_scope", scope="admin"'
        assert refused.headers["WWW-Authenticate"] == challenge
        assert kind(live.client.post(STYLE, headers=sent["operator"], content=SMALL)) == (403, "forbidden")
        assert kind(live.client.post("/v1/admin/reload")) == (401, "unauthorized")


def test_openai_client_sends_its_key_and_reads_the_refusal(tmp_path: Path) -> None:
    sent = write_keys(tmp_path / "keys.toml", shop="")["shop"]
    publish(tmp_path / "models")
    with serving_clients(tmp_path / "models", keys_file=tmp_path / "keys.toml") as live:
        url, key = f"{live.url}/v1", sent["Authorization"].removeprefix("Bearer ")
        with openai.OpenAI(base_url=url, api_key=key) as good, openai.OpenAI(base_url=url, api_key="none") as bad:
            assert good.images.edit(model="wave", image=("a.png", SMALL), prompt="").data
            with pytest.raises(openai.AuthenticationError) as refused:
                bad.images.edit(model="wave", image=("a.png", SMALL), prompt="")
        assert refused.value.code == "unauthorized"


def test_clients_without_a_key_may_be_let_in_beside_those_with_one(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="")["shop"]
    publish(tmp_path / "models")
    options = {"keys_file": path, "keys_required": False, "address_requests_per_minute": 2}
    with serving(tmp_path / "models", **options) as live:
        assert [live.client.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
        assert [live.client.get("/v1/models", headers=sent).status_code for _ in range(5)] == [200] * 5
        assert live.client.get("/livez").status_code == 200
        document = live.client.get("/openapi.json", headers=sent).json()
        assert described_security(document, "/v1/models") == [{}, *document["security"]]
        assert described_security(document, "/metrics") == document["security"]


def test_wrong_keys_count_against_the_address(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    write_keys(path, shop="")
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path, address_requests_per_minute=2) as live:
        guesses = [live.client.get("/v1/models", headers={"X-API-Key": f"guess{n}"}).status_code for n in range(3)]
    assert guesses == [401, 401, 429]


def test_pixels_are_limited_by_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    limited = "megapixels_per_minute = 0.00001"
    sent = write_keys(path, shop=limited, other=limited, scraper='rights = ["metrics"]')
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path) as live:
        first = live.client.post(STYLE, headers=sent["shop"], content=SMALL)
        assert first.status_code == 200
        assert '"pixels";r=0;' in first.headers["RateLimit"]
        second = live.client.post(STYLE, headers=sent["shop"], content=SMALL)
        assert kind(second) == (429, "quota-exceeded")
        assert second.json()["violated-policies"] == ["pixels"]
        assert int(second.headers["Retry-After"]) == second.json()["retry_after"] > 0
        assert '"pixels";q=10;qu="pixels";w=60' in second.headers["RateLimit-Policy"]
        assert live.client.get("/v1/models", headers=sent["shop"]).status_code == 200  # costs no pixels
        assert live.client.post(STYLE, headers=sent["other"], content=SMALL).status_code == 200
        live.client.headers.update(sent["scraper"])
        pixels = photo().shape[0] * photo().shape[1]
        assert live.metric("pastiche_key_pixels_total", key="shop") == pixels
        assert live.metric("pastiche_key_requests_total", key="shop") == 3
        assert live.metric("pastiche_rejected_total", reason="quota-exceeded") == 1


def test_requests_in_flight_are_limited_and_freed_when_the_client_leaves(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="requests_in_flight = 1", scraper='rights = ["metrics"]')
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path) as live:
        live.client.headers.update(sent["scraper"])

        def models() -> int:
            return live.client.get("/v1/models", headers=sent["shop"]).status_code

        with held(live):
            with _asking(live, sent["shop"]):
                wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
                assert models() == 429
            wait_for(models, lambda status: status == 200)


def test_one_client_does_not_take_the_places_of_all_jobs(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="unfinished_jobs = 2", other="")
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path, keys_required=False, address_unfinished_jobs=1) as live:

        def put(name: str, headers: dict[str, str]) -> int:
            return live.client.put(f"/v1/jobs/{name}?style=wave", headers=headers, content=SMALL).status_code

        with held(live):
            assert [put(name, sent["shop"]) for name in ("one", "two", "three")] == [201, 201, 429]
            assert put("two", sent["shop"]) == 200  # it is there already
            assert put("three", sent["other"]) == 201
            assert [put(name, {}) for name in ("one", "two")] == [201, 429]
            assert [put(name, {"X-Forwarded-For": "192.0.2.1"}) for name in ("three", "four")] == [201, 429]
            refused = live.client.put("/v1/jobs/five?style=wave", headers=sent["shop"], content=SMALL)
            assert refused.json()["violated-policies"] == ["unfinished-jobs"]
            assert int(refused.headers["Retry-After"]) > 0
        wait_for(lambda: put("three", sent["shop"]), lambda status: status == 201)


@contextmanager
def _asking(live: Live, sent: dict[str, str]) -> Iterator[None]:
    """A client that waits for its answer for the length of the block, and then leaves."""
    base = live.client.base_url
    headers = {"Host": base.netloc.decode(), "Content-Length": str(len(SMALL)), **sent}
    lines = [f"POST {STYLE} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with socket.create_connection((base.host, base.port or 80)) as connection:
        connection.sendall("\r\n".join(lines).encode() + SMALL)
        yield


def test_address_is_that_which_a_trusted_proxy_names(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, address_requests_per_minute=1) as live:
        for address in ("192.0.2.1", "192.0.2.2"):
            sent = {"X-Forwarded-For": f"203.0.113.9, {address}"}  # the client itself may claim what it likes
            assert [live.client.get("/v1/models", headers=sent).status_code for _ in range(2)] == [200, 429]
    with serving(tmp_path, address_requests_per_minute=1, forwarded_allow_ips="192.0.2.9") as live:
        claims = ({"X-Forwarded-For": f"192.0.2.{n}"} for n in range(2))
        assert [live.client.get("/v1/models", headers=sent).status_code for sent in claims] == [200, 429]


def test_job_of_another_key_is_neither_seen_nor_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, alice="", bob="")
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path) as live:
        put = live.client.put("/v1/jobs/mine?style=wave", headers=sent["alice"], content=SMALL)
        assert (put.status_code, put.json()["id"], put.headers["Location"]) == (201, "mine", "/v1/jobs/mine")
        for method, below in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
            refused = live.client.request(method, f"/v1/jobs/mine{below}", headers=sent["bob"])
            assert kind(refused) == (404, "unknown-job")
            assert "alice" not in refused.text
        other = live.client.put("/v1/jobs/mine?style=wave&strength=0.5", headers=sent["bob"], content=SMALL)
        assert (other.status_code, other.json()["id"]) == (201, "mine")
        for name in ("alice", "bob"):

            def state(name: str = name) -> str:
                return str(live.client.get("/v1/jobs/mine", headers=sent[name]).json()["state"])

            wait_for(state, lambda found: found == "succeeded")
        results = [live.client.get("/v1/jobs/mine/result", headers=sent[name]).content for name in ("alice", "bob")]
        assert results[0] != results[1]
        assert live.client.delete("/v1/jobs/mine", headers=sent["bob"]).status_code == 204
        assert live.client.get("/v1/jobs/mine", headers=sent["alice"]).status_code == 200
    with serving(tmp_path / "models", keys_file=path) as live:  # the owner outlasts the process
        assert live.client.get("/v1/jobs/mine", headers=sent["alice"]).json()["state"] == "succeeded"
        assert live.client.get("/v1/jobs/mine", headers=sent["bob"]).status_code == 404
    with serving(tmp_path / "models") as live:
        assert live.client.get("/v1/jobs/mine").status_code == 404
        assert live.client.get("/v1/jobs/alice@mine").status_code == 422


def test_refusal_of_a_full_service_does_not_answer_for_a_missing_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop="", scraper='rights = ["metrics"]')
    publish(tmp_path / "models")
    with (
        serving(tmp_path / "models", keys_file=path, max_queue_requests=1) as live,
        ThreadPoolExecutor(1) as clients,
        held(live),
    ):
        live.client.headers.update(sent["scraper"])
        first = clients.submit(httpx.post, f"{live.url}{STYLE}", headers=sent["shop"], content=SMALL, timeout=60)
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
        for _ in range(2):
            assert live.client.post(STYLE, headers=sent["shop"], content=SMALL).status_code == 503
        assert len(live.service.refusals) == 1
        assert httpx.post(f"{live.url}{STYLE}", content=SMALL, timeout=PATIENCE).status_code == 401
        assert live.client.post(STYLE, content=SMALL).status_code == 403
        assert not first.done()
