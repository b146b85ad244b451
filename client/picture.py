"""An image that the service has made, with what it says of it."""

import builtins
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from client.answers import ModelVersion
from client.errors import UnexpectedAnswer
from client.formats import FORMATS, extension

if TYPE_CHECKING:
    import PIL.Image

STAGE = re.compile(r"(\w+);dur=(\d+(?:\.\d*)?)")
"""A stage in Server-Timing, with its milliseconds."""

LABEL = re.compile(r"([^@,\s]+)@(\d{1,9})\b")
"""A network in X-Model."""


@dataclass(frozen=True)
class Picture:
    """The file of an image, and how it was made."""

    bytes: builtins.bytes = field(repr=False)
    media_type: str
    """Such as image/jpeg."""
    models: tuple[ModelVersion, ...] = ()
    """The networks that made it; of several, in order or the heaviest first."""
    reason: str = ""
    """What was found in the photograph, where that decided on the networks, such as `clean`."""
    etag: str = ""
    """Two pictures with the same tag have the same bytes."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Spent in each stage, such as decode, queue, infer and encode."""
    request_id: str = ""
    """As in the log of the service."""

    @classmethod
    def parse(cls, answer: httpx.Response) -> Self:
        """The picture of an answer. Raises UnexpectedAnswer where that is no image."""
        headers = answer.headers
        media_type = headers.get("Content-Type", "").partition(";")[0].strip()
        if not media_type.startswith("image/"):
            raise UnexpectedAnswer(f"the answer is {media_type or 'nothing'} and no image")
        return cls(
            answer.content,
            media_type,
            models=_models(headers.get("X-Model", ""), headers.get("X-Model-Digest", "")),
            reason=headers.get("X-Model-Reason", ""),
            etag=headers.get("ETag", ""),
            seconds={name: float(time) / 1000 for name, time in STAGE.findall(headers.get("Server-Timing", ""))},
            request_id=headers.get("X-Request-ID", ""),
        )

    @property
    def extension(self) -> str:
        """Of a file of this type, such as `.jpg`."""
        return extension(self.media_type)

    def image(self) -> "PIL.Image.Image":
        """The image for Pillow, decoded."""
        from PIL import Image  # noqa: PLC0415 # only for those who use it

        image = Image.open(io.BytesIO(self.bytes))
        image.load()
        return image

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file as it came, and return its path. A path without an extension gets that of the format.

        Raises ValueError where the extension is that of another format.
        """
        target = Path(path)
        target = target if target.suffix else target.with_name(target.name + self.extension)
        named, own = FORMATS.get(target.suffix.lower()), FORMATS.get(self.extension)
        if named is not None and named != own:
            raise ValueError(f"{target} is a {named} by its name, but the picture is a {own}; ask for format={named!r}")
        target.write_bytes(self.bytes)
        return target


def _models(labels: str, digests: str) -> tuple[ModelVersion, ...]:
    found = LABEL.findall(labels)
    known = [digest.strip() for digest in digests.split(",")] + [""] * len(found)
    return tuple(
        ModelVersion(name=name, version=int(version), digest=digest)
        for (name, version), digest in zip(found, known, strict=False)
    )
