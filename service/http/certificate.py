"""The TLS files of the service: read before it starts, with an error that says which of them is wrong, and why."""

import ssl
from pathlib import Path

from service.http.uvicorn_server import HttpServer
from service.settings import Settings


def read_certificate(server: HttpServer, settings: Settings) -> None:
    """Let a server read its TLS files. Raises ValueError, with their names, for no certificate and its key."""
    try:
        server.config.load()
    except OSError as error:
        named = {"tls_certificate": settings.tls_certificate, "tls_key": settings.tls_key}
        files = " and ".join(f"{name} {path}" for name, path in named.items() if path is not None)
        raise ValueError(f"{files} cannot be used: {_why(error, settings)}") from error


def _why(error: OSError, settings: Settings) -> str:
    """OpenSSL says neither which of the files it cannot read nor that a password is wrong."""
    certificate, key = settings.tls_certificate, settings.tls_key or settings.tls_certificate
    is_explained = not isinstance(error, ssl.SSLError) or getattr(error, "reason", None) is not None
    if is_explained or certificate is None or key is None:
        return str(error)
    if not _holds_certificate(certificate):
        return "tls_certificate holds no certificate"
    if b"ENCRYPTED" not in key.read_bytes():
        return str(error)
    given = "it needs tls_key_password" if settings.tls_key_password is None else "tls_key_password is another one's"
    return f"the key is encrypted, and {given}"


def _holds_certificate(file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True
