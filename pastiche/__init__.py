"""Paint and enlarge photographs from Python: `pastiche.load("great-wave")(image)`. No server and no port.

Names are looked up when they are first used: importing this package imports no other.
"""

from typing import TYPE_CHECKING

from pastiche.lazy import names_of

if TYPE_CHECKING:
    from pastiche.loading import load, models
    from pastiche.model import Model
    from service.errors import ServiceError

__all__ = ["Model", "ServiceError", "load", "models"]

__getattr__ = names_of(
    __name__,
    {
        "Model": "pastiche.model",
        "ServiceError": "service.errors",
        "load": "pastiche.loading",
        "models": "pastiche.loading",
    },
)
