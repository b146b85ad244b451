import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.http.certificate import read_certificate
from service.http.uvicorn_server import build_server
from service.settings import Settings
from service.telemetry.metrics import Metrics

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="needs openssl")


def certificate(folder: Path, name: str, password: str) -> None:
    """A certificate and its key: NAME.pem and NAME.key; the key is encrypted where there is a password."""
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    locked = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    made = ["req", "-x509", "-newkey", "rsa:2048", "-days", "1", "-subj", "/CN=localhost", *files, *locked]
    subprocess.run([str(OPENSSL), *made], check=True, capture_output=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder, "open", "")
    certificate(folder, "locked", "secret")
    (folder / "text").write_text("no certificate")
    (folder / "both").write_bytes((folder / "open.key").read_bytes() + (folder / "open.pem").read_bytes())
    return folder


def read(folder: Path, first: str, key: str | None, password: str | None) -> None:
    options = {
        "tls_certificate": folder / first,
        "tls_key": folder / key if key else None,
        "tls_key_password": password,
    }
    settings = Settings.model_validate(options)
    server = build_server(FastAPI(), settings, Metrics())
    assert server is not None
    read_certificate(server, settings)


@pytest.mark.parametrize(
    ("first", "key", "password"),
    [("open.pem", "open.key", None), ("locked.pem", "locked.key", "secret"), ("both", None, None)],
)
def test_a_certificate_with_its_key_is_read(files: Path, first: str, key: str | None, password: str | None) -> None:
    read(files, first, key, password)


@pytest.mark.parametrize(
    ("first", "key", "password", "told"),
    [
        ("locked.pem", "locked.key", None, "the key is encrypted, and it needs tls_key_password"),
        ("locked.pem", "locked.key", "other", "the key is encrypted, and tls_key_password is another one's"),
        ("text", "locked.key", "secret", "tls_certificate holds no certificate"),
        ("text", None, None, "tls_certificate holds no certificate"),
        ("locked.pem", "open.key", None, "KEY_VALUES_MISMATCH"),
        ("open.pem", "text", None, "cannot be used"),
        ("open.pem", None, None, "cannot be used"),
    ],
)
def test_what_is_wrong_is_told_with_the_files(
    files: Path, first: str, key: str | None, password: str | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        read(files, first, key, password)
    assert str(files / first) in str(refused.value)
