import shutil
from pathlib import Path

import pytest

from benchmarks import replicas
from benchmarks.checked_load import ask
from benchmarks.errors import BenchmarkError
from tests.service.live import publish

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")


def test_missing_proxy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(BenchmarkError, match="nginx is not installed"), replicas.running(tmp_path, tmp_path):
        pass


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_service_restarts_behind_the_proxy_and_its_workers_are_known(tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(store)
    with replicas.running(store, tmp_path, count=1) as ((replica,), port):
        assert ask(port, "/livez", b"", "GET")[0] == 200
        before = replica.server.pid
        assert len(replica.worker_pids()) == 1
        replica.kill_worker()
        assert replica.restart() == 0
        assert replica.server.pid != before
        assert ask(replica.server.port, "/livez", b"", "GET")[0] == 200
