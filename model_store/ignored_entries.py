"""The message about entries of a store's folder that are no models."""

from collections.abc import Sequence

MOST_NAMED = 5
"""Names in one message at most; somebody may take a folder of ten thousand photographs for a store."""


def describe_ignored_entries(names: Sequence[str]) -> str:
    """One line that names what is ignored, what a store holds instead, and how networks get there."""
    named = ", ".join(repr(name) for name in names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    verb = "is no model" if len(names) == 1 else "are no models"
    return (
        f"{named}{more} {verb} and ignored: a store holds <model>/<version>/ with a manifest and safetensors, which "
        "`pastiche-train` publishes and `pastiche-models` lists, verifies and promotes; `pastiche-models import` makes "
        "one of a checkpoint of another program"
    )
