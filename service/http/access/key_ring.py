"""The keys that are accepted: those of a file, which is read again when it changes."""

import asyncio
import hmac
import logging
from pathlib import Path

from service.http.access.api_key import KeysFile, Right, digest
from service.http.access.principal import Principal
from service.http.access.quota import Quota
from service.telemetry.metrics import Metrics

POLL_SECONDS = 2.0
"""How often the file is read."""

logger = logging.getLogger(__name__)


class KeyRing:
    """The keys of a file. Where the file cannot be read, or is broken, the previous keys stay in effect."""

    def __init__(self, path: Path, metrics: Metrics, poll_seconds: float = POLL_SECONDS) -> None:
        """Raises ValueError where there are no keys to begin with: a service that is to be closed must not be open."""
        self._path = path
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._seen = self._read()
        self._principals: dict[str, Principal] = {}
        self._digests: list[tuple[str, Principal]] = []
        try:
            self._replace(KeysFile.parse(_require(self._seen)))
        except ValueError as error:
            raise ValueError(f"keys_file {path}: {error}") from error

    @property
    def has_admin(self) -> bool:
        """Whether any key has the right `admin`."""
        return any(Right.ADMIN in principal.rights for principal in self._principals.values())

    def find(self, key: str) -> Principal | None:
        """The principal that has this key; None for an unknown key.

        Digests are compared in constant time, all of them, so that the time tells nothing of which one is how near.
        """
        offered, found = digest(key), None
        for known, principal in self._digests:
            if hmac.compare_digest(known, offered):
                found = principal
        return found

    async def follow(self) -> None:
        """Read the file again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            self.refresh(await asyncio.to_thread(self._read))

    def refresh(self, content: bytes | OSError) -> None:
        """Take the keys of the file's content, where it has changed; keep those of before where it is broken."""
        if _same(content, self._seen):
            return
        self._seen = content
        try:
            self._replace(KeysFile.parse(_require(content)))
        except ValueError as error:
            self._metrics.key_loads.labels("failed").inc()
            logger.error("%s: %s; the previous keys stay in effect", self._path, error)
        else:
            logger.info("%s: %d names have keys", self._path, len(self._principals))

    def _read(self) -> bytes | OSError:
        try:
            return self._path.read_bytes()
        except OSError as error:
            return error

    def _replace(self, file: KeysFile) -> None:
        """What principals have used of their quotas goes on."""
        principals = {}
        for name, entry in file.keys.items():
            quota = self._principals[name].quota if name in self._principals else Quota(entry.policy)
            quota.update(entry.policy)
            principals[name] = Principal(name, rights=entry.rights, quota=quota)
        self._principals = principals
        self._digests = [(known, principals[name]) for name, entry in file.keys.items() for known in entry.sha256]
        self._metrics.keys.set(len(self._digests))
        self._metrics.key_loads.labels("loaded").inc()


def _require(content: bytes | OSError) -> bytes:
    """The content. Raises ValueError where the file could not be read."""
    if isinstance(content, OSError):
        raise ValueError(f"cannot be read: {content.strerror}") from content
    return content


def _same(one: bytes | OSError, other: bytes | OSError) -> bool:
    return one == other or (isinstance(one, OSError) and isinstance(other, OSError))
