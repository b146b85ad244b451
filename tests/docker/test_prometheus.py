"""docker/prometheus.yml is valid and scrapes the services of docker-compose.yml."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "docker" / "prometheus.yml"


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def containers_named(name: str) -> dict[str, int]:
    """The services of docker-compose.yml that answer to `name` on its network, with the port each listens on."""
    services = load(ROOT / "docker-compose.yml")["services"]
    return {
        own: int(service["ports"][0].rsplit(":", 1)[1])
        for own, service in services.items()
        if name in (own, *service.get("networks", {}).get("default", {}).get("aliases", []))
    }


def test_promtool_accepts_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of Prometheus, is not installed")
    done = subprocess.run([promtool, "check", "config", CONFIG], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_services_are_targets_on_the_port_they_listen_on() -> None:
    [job] = load(CONFIG)["scrape_configs"]
    [discovery] = job["dns_sd_configs"]
    [name] = discovery["names"]
    assert containers_named(name) == {"pastiche": discovery["port"], "pastiche-gpu": discovery["port"]}
