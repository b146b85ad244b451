import logging
from pathlib import Path

import pytest

from service.errors import QuotaExceeded
from service.http.access.key_ring import KeyRing
from service.telemetry.metrics import Metrics
from tests.service.http.access.keyed import Headers, write_keys
from tests.service.live import publish, serving, wait_for


def key(headers: Headers) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


def loads(metrics: Metrics, result: str) -> float:
    return metrics.registry.get_sample_value("pastiche_key_loads_total", {"result": result}) or 0.0


def test_keys_are_found_by_their_digest(tmp_path: Path) -> None:
    sent = write_keys(tmp_path / "keys.toml", shop="", operator='rights = ["admin"]')
    ring = KeyRing(tmp_path / "keys.toml", Metrics())
    for name in ("shop", "operator"):
        found = ring.find(key(sent[name]))
        assert found is not None
        assert found.name == name
    assert ring.find("") is ring.find("é") is ring.find(key(sent["shop"]) + "x") is None
    assert ring.has_admin


@pytest.mark.parametrize("content", [None, "", "[keys.shop]\nsha256 = 'x'"])
def test_service_does_not_begin_without_keys(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "keys.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"keys_file .*keys.toml: "):
        KeyRing(path, Metrics())


def test_changed_file_takes_effect_and_a_broken_one_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, metrics = tmp_path / "keys.toml", Metrics()
    old = key(write_keys(path, shop="")["shop"])
    ring = KeyRing(path, metrics)
    new = key(write_keys(path, shop='rights = ["use"]')["shop"])
    for broken in (b"[keys", b"", OSError(2, "No such file or directory")):
        with caplog.at_level(logging.ERROR):
            ring.refresh(broken)
            ring.refresh(broken)
        assert ring.find(old) is not None
    assert caplog.text.count("the previous keys stay in effect") == loads(metrics, "failed") == 3
    assert "No such file" in caplog.text
    ring.refresh(path.read_bytes())
    assert ring.find(old) is None
    assert ring.find(new) is not None
    assert loads(metrics, "loaded") == 2


def test_what_was_used_is_not_forgiven_by_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    write_keys(path, shop="megapixels_per_minute = 1")
    ring = KeyRing(path, Metrics())
    new = key(write_keys(path, shop="megapixels_per_minute = 1", other="")["shop"])
    ring.refresh(path.read_bytes())
    before = ring.find(new)
    assert before is not None
    with before.quota.charge(2_000_000):
        pass
    write_keys(path, other="")
    newest = key(write_keys(path, shop="megapixels_per_minute = 1")["shop"])
    ring.refresh(path.read_bytes())
    after = ring.find(newest)
    assert after is not None
    with pytest.raises(QuotaExceeded):
        after.quota.check_pixels()


def test_running_service_takes_up_new_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    old = write_keys(path, shop="")["shop"]
    publish(tmp_path / "models")
    with serving(tmp_path / "models", keys_file=path) as live:
        assert live.client.get("/v1/models", headers=old).status_code == 200
        new = write_keys(path, shop="")["shop"]
        wait_for(lambda: live.client.get("/v1/models", headers=new).status_code, lambda status: status == 200)
        assert live.client.get("/v1/models", headers=old).status_code == 401
