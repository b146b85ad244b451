"""What whoever imports a network says of it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Labels:
    """What a file does not say of its network."""

    name: str
    title: str = ""
    license: str = ""
    author: str = ""
    source: str = ""
    output: Literal["linear", "tanh"] | None = None
    """What ends a style network, where its keys do not tell."""
