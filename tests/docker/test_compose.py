"""docker-compose.yml is valid, and agrees with the settings of the service and with the Dockerfile."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.settings import Settings
from tests.docs.documents import OPERATIONS, blocks

ROOT = Path(__file__).parents[2]
OURS = ("pastiche", "pastiche-gpu")
TRAINERS = ("trainer", "trainer-gpu")
EVERY = (*OURS, *TRAINERS, "redis", "prometheus", "grafana")
HOST_FOLDERS = {"./models", "./photos"}
"""What the user brings, and Docker makes where it is missing."""
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def compose() -> dict[str, Any]:
    """The file as Compose reads it where no variable is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
    loaded: dict[str, Any] = yaml.safe_load(text)
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


def test_override_of_the_document_is_in_the_compose_schema_and_has_settings() -> None:
    (text,) = [block.text for block in blocks(OPERATIONS, "yaml") if block.text.startswith("services:")]
    override = yaml.safe_load(text)
    document = compose()
    for name, fields in override["services"].items():
        document["services"][name] |= fields
    assert errors(document) == []
    given = {name.lower(): value for name, value in override["services"]["pastiche"]["environment"].items()}
    Settings.model_validate({name.removeprefix("pastiche_"): value for name, value in given.items()})


def test_schema_sees_a_misspelt_key_and_a_wrong_type() -> None:
    document = compose()
    document["services"]["pastiche"]["stop_grace_perod"] = "60s"
    document["services"]["grafana"]["user"] = 472
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


@pytest.mark.parametrize("name", [*OURS, *TRAINERS])
def test_build_names_a_target_of_the_dockerfile(name: str) -> None:
    build = compose()["services"][name]["build"]
    dockerfile = (ROOT / build["context"] / build["dockerfile"]).read_text()
    assert f" AS {build['target']}\n" in dockerfile


def test_published_ports_do_not_collide() -> None:
    published = published_ports()
    assert len(published) == len(set(published))


def published_ports() -> list[str]:
    """The published side of each port: `127.0.0.1:9090`."""
    services = compose()["services"].values()
    return [port.rsplit(":", 1)[0] for service in services for port in service.get("ports", [])]


def test_ports_are_published_on_this_machine_alone_by_default() -> None:
    assert all(port.startswith("127.0.0.1:") for port in published_ports())


def test_list_of_services_is_complete() -> None:
    assert set(EVERY) == compose()["services"].keys()


@pytest.mark.parametrize("name", EVERY)
def test_container_is_confined(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name in OURS or service["user"] not in ("", "0", "root")  # ours: the USER of the Dockerfile


@pytest.mark.parametrize("name", TRAINERS)
def test_trainer_starts_only_when_asked_for_and_writes_where_the_service_reads(name: str) -> None:
    service = compose()["services"][name]
    assert service["profiles"] == ["trainer"]
    assert "./models:/models" in service["volumes"]
    assert "./models:/models:ro" in compose()["services"]["pastiche"]["volumes"]
    assert set(service["entrypoint"]) <= commands()


def commands() -> set[str]:
    """The commands of the package."""
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


def test_gpu_service_reserves_a_gpu_and_starts_only_when_asked_for() -> None:
    services = compose()["services"]
    [device] = services["pastiche-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services["pastiche-gpu"]["profiles"] == ["cuda"]
    assert not any("profiles" in services[name] for name in ("pastiche", "prometheus", "grafana"))


def test_redis_starts_only_when_asked_for_and_forgets_no_job() -> None:
    service = compose()["services"]["redis"]
    assert service["profiles"] == ["redis"]
    assert "ports" not in service
    memory = int(service["command"][service["command"].index("--maxmemory") + 1].removesuffix("gb")) * 2**30
    assert memory > 1.25 * Settings().job_bytes
    assert "noeviction" in service["command"]


def test_mounted_files_and_volumes_exist() -> None:
    document = compose()
    sources = {volume.split(":")[0] for service in document["services"].values() for volume in service["volumes"]}
    named = {source for source in sources if not source.startswith(".")}
    assert named == document["volumes"].keys()
    assert all((ROOT / source).exists() for source in sources - named - HOST_FOLDERS)
