"""The environment's variables `PASTICHE_…`: which are settings, which others, and which are misspelt."""

import re
from collections.abc import Collection
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

PREFIX = "PASTICHE_"

CLIENT_VARIABLES = frozenset({"PASTICHE_SERVER", "PASTICHE_KEY"})
"""The command line's own."""

ADDRESS = re.compile(r"(tcp|udp|sctp)://", re.ASCII)
"""How the value begins that Kubernetes gives NAME_PORT, for a Service of that name, in all pods beside it."""

SERVICE_VARIABLE = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)", re.ASCII
)
"""The variables of a Service: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables."""


class Environment(EnvSettingsSource):
    """Settings of the environment. An address of a Kubernetes Service called "pastiche" is no `port`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of a variable, None where it has none."""
        value, key, is_complex = super().get_field_value(field, field_name)
        is_address = isinstance(value, str) and field_name.endswith("port") and ADDRESS.match(value)
        return None if is_address else value, key, is_complex


def variable(setting: str) -> str:
    """The name of a setting in the environment."""
    return f"{PREFIX}{setting.upper()}"


def unknown_variables(environment: Collection[str], settings: Collection[str]) -> list[str]:
    """The names of the service's prefix that are no setting: misspelt ones, or those of a newer version."""
    known = {*map(variable, settings), *CLIENT_VARIABLES}
    own = (name for name in sorted(environment) if name.upper().startswith(PREFIX))
    return [name for name in own if name.upper() not in known and not SERVICE_VARIABLE.fullmatch(name)]
