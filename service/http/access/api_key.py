"""API keys, and the file that names them.

A key is 32 random bytes, and the file has its SHA-256 alone. A slow hash (scrypt, Argon2) protects passwords, which can
be guessed; one of 2^256 keys cannot be, and a slow hash would be paid at every request.
"""

import hashlib
import secrets
import tomllib
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

PREFIX = "pastiche_"
"""How a key begins, for those who search repositories and logs for secrets."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]


class Right(StrEnum):
    """What a key may be used for."""

    USE = "use"
    """Images, jobs, estimates, models: what an application does."""
    METRICS = "metrics"
    """GET /metrics."""
    ADMIN = "admin"
    """/v1/admin: which version of a model is served."""


class LimitPolicy(BaseModel):
    """How much a principal may ask for; None: no limit of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    megapixels_per_minute: float | None = Field(None, gt=0, allow_inf_nan=False)
    requests_per_minute: float | None = Field(None, ge=1, allow_inf_nan=False)
    requests_in_flight: int | None = Field(None, ge=1)
    unfinished_jobs: int | None = Field(None, ge=1)


class KeyEntry(LimitPolicy):
    """What the file says of one name."""

    sha256: tuple[Digest, ...] = Field(min_length=1)
    """Of the keys of that name: two, while one replaces the other."""
    rights: frozenset[Right] = frozenset({Right.USE})

    @field_validator("sha256", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @property
    def policy(self) -> LimitPolicy:
        """The limits alone."""
        return LimitPolicy(**self.model_dump(include=set(LimitPolicy.model_fields)))


class KeysFile(BaseModel):
    """The content of the file: a table `keys.<name>` for each name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: dict[KeyName, KeyEntry] = Field(min_length=1)

    @field_validator("keys")
    @classmethod
    def _distinct(cls, keys: dict[str, KeyEntry]) -> dict[str, KeyEntry]:
        counts = Counter(digest for entry in keys.values() for digest in entry.sha256)
        if repeated := [digest for digest, count in counts.items() if count > 1]:
            raise ValueError(f"the key with the SHA-256 {repeated[0][:12]}… is there twice")
        return keys

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Of TOML in UTF-8. Raises ValueError with one line that says what is wrong and where."""
        try:
            return cls.model_validate(_tables(content.decode()))
        except ValidationError as error:
            faults = ((".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors())
            raise ValueError("; ".join(f"{where}: {what}" for where, what in faults)) from error


def _tables(text: str) -> dict[str, Any]:
    """Raises ValueError; for a name that is there twice, which its second key appended to the file makes it, with how
    it has both."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = (
            '; a name has one table, with a list for several keys: sha256 = ["…", "…"]' if "twice" in str(error) else ""
        )
        raise ValueError(f"{error}{hint}") from error


def new_key() -> str:
    """A new key: PREFIX and 43 characters of base64url, 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """The SHA-256 of a key, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()
