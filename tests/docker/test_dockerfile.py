"""docker/Dockerfile: both images run the service unprivileged, with valid settings, and know whether it is alive."""

import http.server
import json
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from service.settings import Settings
from tests.service.live import serving

ROOT = Path(__file__).parents[2]
TARGETS = ("cpu", "cuda")
OPENSSL = shutil.which("openssl")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in their order: keyword and arguments, comments dropped and lines joined."""
    lines = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", "")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def image(target: str) -> list[tuple[str, str]]:
    """The instructions that make the image `target`, those of the stages it is built on first."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for keyword, arguments in instructions():
        if keyword == "FROM":
            base, _, name = arguments.split()
            stages[name] = list(stages.get(base, []))
        elif stages:
            stages[name].append((keyword, arguments))
    return stages[target]


def last(target: str, keyword: str) -> str:
    """The arguments of the instruction that is in force: the last one of its kind."""
    return [arguments for found, arguments in image(target) if found == keyword][-1]


def environment(target: str) -> dict[str, str]:
    pairs = (pair for keyword, arguments in image(target) if keyword == "ENV" for pair in shlex.split(arguments))
    return dict(pair.split("=", 1) for pair in pairs)


def test_base_image_is_pinned_by_its_digest() -> None:
    (base,) = [arguments for keyword, arguments in instructions() if keyword == "ARG" and arguments.startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.1\d-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert {arguments.split()[0] for keyword, arguments in instructions() if keyword == "FROM"} >= {"${BASE}"}


@contextmanager
def answering(status: int, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on this machine, with TLS where there is a context, that always gives that status; yields its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def health(target: str, port: int, **settings: str) -> int:
    """The exit status of the image's own health check, for a service on `port`."""
    command: list[str] = json.loads(last(target, "HEALTHCHECK").split("CMD", 1)[1])
    assert command[0] == "python"
    variables = {"PASTICHE_PORT": str(port), "http_proxy": "http://127.0.0.1:9", **settings}
    done = subprocess.run([sys.executable, *command[1:]], check=False, env=variables, capture_output=True)
    return done.returncode


@pytest.mark.parametrize("target", TARGETS)
def test_image_runs_the_service_unprivileged_in_exec_form(target: str) -> None:
    assert last(target, "USER") == "pastiche"
    assert json.loads(last(target, "CMD")) == ["pastiche-serve"]
    assert last(target, "STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("target", TARGETS)
def test_environment_is_valid_settings(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {key: value for key, value in environment(target).items() if key.startswith("PASTICHE_")}
    assert {key.removeprefix("PASTICHE_").lower() for key in variables} <= Settings.model_fields.keys()
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.port == int(last(target, "EXPOSE"))


@pytest.mark.parametrize("target", TARGETS)
def test_default_folders_are_the_volumes(target: str) -> None:
    used = {Path(last(target, "WORKDIR")) / folder for folder in (*Settings().stores, Settings().jobs_folder)}
    volumes = json.loads(last(target, "VOLUME"))
    assert len(volumes) == 2
    assert {Path(volume) for volume in volumes} <= used


@pytest.mark.parametrize("target", TARGETS)
def test_trainer_of_any_user_writes_its_runs(target: str, tmp_path: Path) -> None:
    """Compose starts it as PASTICHE_USER, and a new volume has the mode of the folder of the image."""
    runs = " && ".join(arguments for keyword, arguments in image(target) if keyword == "RUN").split(" && ")
    (command,) = [command for command in runs if command.split()[-1] == "/runs"]
    words = [word for word in command.split() if not word.startswith(("--owner", "--group"))]
    subprocess.run([*words[:-1], str(tmp_path / "runs")], check=True)
    assert (tmp_path / "runs").stat().st_mode & 0o1777 == 0o1777


def test_compose_publishes_the_exposed_port() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    built = [service for service in services.values() if "build" in service]
    published = {port.rsplit(":", 1)[1] for service in built for port in service.get("ports", [])}
    assert published == {last(target, "EXPOSE") for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
def test_health_check_passes_while_the_service_lives_whatever_the_proxy(target: str, tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        port = int(live.url.rsplit(":", 1)[1])
        assert health(target, port) == 0
    assert health(target, port) != 0


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("status", "failed"), [(200, 0), (503, 1)])
def test_health_check_speaks_tls_where_the_service_does(
    target: str, status: int, failed: int, certificate: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with answering(status, context) as port:
        assert health(target, port, PASTICHE_TLS_CERTIFICATE=str(certificate)) == failed


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of a name that is not this machine's, and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=pastiche.example"]
    command = [str(OPENSSL), "req", "-x509", "-days", "1", *made, "-keyout", "-", "-out", "-"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


@pytest.mark.parametrize("target", TARGETS)
def test_health_check_fails_on_any_other_status(target: str) -> None:
    with answering(503) as port:
        assert health(target, port) != 0


def test_only_what_the_wheel_needs_is_sent_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "requirements.lock",
        *wheel_packages(),
    }


def wheel_packages() -> list[str]:
    """The packages of the wheel, as setuptools finds them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [pattern.removesuffix("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]]
