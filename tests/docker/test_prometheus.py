"""docker/prometheus is valid, scrapes the services of docker-compose.yml, and its alerts fire when they should."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.telemetry.merging import SCRAPE_SECONDS
from tests.docker.series import metric_names, series

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "docker" / "prometheus" / "prometheus.yml"
RULES = CONFIG.with_name("alerts.yml")
ALERT_TESTS = Path(__file__).with_name("alerts.yaml")


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


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [rule for group in load(RULES)["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("arguments", [("check", "config", CONFIG), ("test", "rules", ALERT_TESTS)])
def test_promtool_accepts_the_configuration_and_its_alerts(arguments: tuple[str, str, Path]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of Prometheus, is not installed")
    done = subprocess.run([promtool, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    wanted = {f"{alert['alert']} {outcome}" for alert in alerts() for outcome in ("fires", "does not fire")}
    assert {case["name"] for case in load(ALERT_TESTS)["tests"]} == wanted


def test_every_alert_says_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"].keys() == {"summary", "description"}


def test_metrics_of_the_alerts_exist() -> None:
    assert {name for alert in alerts() for name in metric_names(alert["expr"])} <= series()


def test_both_services_are_targets_on_the_port_they_listen_on() -> None:
    [job] = load(CONFIG)["scrape_configs"]
    [discovery] = job["dns_sd_configs"]
    [name] = discovery["names"]
    assert containers_named(name) == {"pastiche": discovery["port"], "pastiche-gpu": discovery["port"]}


def test_scrape_outlasts_the_wait_for_a_process_that_hangs() -> None:
    """It ends with the interval where that is below 10 s; Ray's replicas and then its ingresses are asked."""
    interval = load(CONFIG)["global"]["scrape_interval"]
    assert float(interval.removesuffix("s")) > 2 * SCRAPE_SECONDS
