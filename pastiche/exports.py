"""Where the public names are defined. A module is imported when the first of its names is used."""

from importlib import import_module

EXPORTS = {
    "AsyncClient": "client.async_client",
    "AsyncJob": "client.async_client",
    "Client": "client.sync_client",
    "Estimate": "client.answers",
    "Health": "client.answers",
    "Job": "client.sync_client",
    "JobStatus": "client.answers",
    "Model": "pastiche.model",
    "ModelDetails": "client.answers",
    "ModelSummary": "client.answers",
    "PasticheError": "client.errors",
    "Picture": "client.picture",
    "Problem": "client.errors",
    "RetryPolicy": "client.retries",
    "ServiceError": "service.errors",
    "load": "pastiche.loading",
    "models": "pastiche.loading",
}

MODULES = frozenset({"errors"})
"""Modules of this package that are public."""


def import_name(name: str) -> object:
    """What the package has under that name (PEP 562). Raises AttributeError where it has nothing."""
    if name in MODULES:
        return import_module(f"pastiche.{name}")
    if name not in EXPORTS:
        raise AttributeError(
            f"module 'pastiche' has no attribute {name!r}; it has: {', '.join(sorted(EXPORTS.keys() | MODULES))}"
        )
    return getattr(import_module(EXPORTS[name]), name)
