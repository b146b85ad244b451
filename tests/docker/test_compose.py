"""docker-compose.yml is valid, and agrees with the settings of the service and with the Dockerfile."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
OURS = ("pastiche", "pastiche-gpu")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "compose.schema.json").read_text())
    return loaded


def errors(document: object) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema()).iter_errors(document)]


def seconds(duration: str) -> float:
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", duration))


def test_file_is_in_the_compose_schema() -> None:
    assert errors(compose()) == []


def test_schema_sees_a_misspelt_key_and_a_wrong_type() -> None:
    document = compose()
    document["services"]["pastiche"]["stop_grace_perod"] = "60s"
    document["services"]["pastiche-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["count"] = "one"
    assert len(errors(document)) == 2


@pytest.mark.parametrize("name", OURS)
def test_environment_is_valid_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = compose()["services"][name]["environment"]
    assert {key.removeprefix("PASTICHE_").lower() for key in environment} <= Settings.model_fields.keys()
    for key, value in environment.items():
        monkeypatch.setenv(key, str(value))
    settings = Settings()
    assert settings.device == {"pastiche": "cpu", "pastiche-gpu": "cuda"}[name]


@pytest.mark.parametrize("name", OURS)
def test_container_is_not_killed_before_the_service_has_drained(name: str) -> None:
    settings = Settings()
    grace = seconds(compose()["services"][name]["stop_grace_period"])
    assert grace >= settings.shutdown_delay_seconds + settings.drain_seconds + 10


@pytest.mark.parametrize("name", OURS)
def test_build_names_a_target_of_the_dockerfile(name: str) -> None:
    build = compose()["services"][name]["build"]
    dockerfile = (ROOT / build["context"] / build["dockerfile"]).read_text()
    assert f" AS {build['target']}\n" in dockerfile


def test_published_ports_do_not_collide() -> None:
    published = [port.rsplit(":", 1)[0] for service in compose()["services"].values() for port in service["ports"]]
    assert len(published) == len(set(published))


def test_gpu_service_reserves_a_gpu_and_starts_only_when_asked_for() -> None:
    services = compose()["services"]
    [device] = services["pastiche-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services["pastiche-gpu"]["profiles"] == ["gpu"]
    assert not any("profiles" in services[name] for name in ("pastiche", "prometheus"))


def test_mounted_files_and_volumes_exist() -> None:
    document = compose()
    sources = {volume.split(":")[0] for service in document["services"].values() for volume in service["volumes"]}
    named = {source for source in sources if not source.startswith(".")}
    assert named == document["volumes"].keys()
    assert all((ROOT / source).exists() for source in sources - named - {"./models"})
