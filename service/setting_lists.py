"""Settings that are lists of names and addresses: an entry that nothing would ever match is refused."""

import ipaddress
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated

from pydantic import AfterValidator

HOST = re.compile(r"(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
"""As browsers write it: in lower case."""

TARGET = re.compile(r"[^\s,/:*\[\]]+")
"""A name to which webhooks go."""


def _check_hosts(value: str) -> str:
    accepted = "the names and addresses, without scheme, port and path, such as pastiche.example, *.example.com, [::1]"
    return _checked(value, ",", lambda part: part == "*" or HOST.fullmatch(part), accepted)


def _check_origins(value: str) -> str:
    accepted = "the origins, without a slash at the end, such as https://app.example"
    return _checked(value, ",", lambda part: part in ("*", "null") or ORIGIN.fullmatch(part), accepted)


def _check_proxies(value: str) -> str:
    accepted = "the addresses and networks, such as 10.0.0.7 and 10.0.0.0/8, nor is it * alone"
    return value if value == "*" else _checked(value, ",", partial(_parses, ipaddress.ip_network), accepted)


def _check_targets(value: str) -> str:
    accepted = "the names and addresses, separated by spaces, without scheme and port, such as app and 10.0.0.7"
    return _checked(value, None, lambda part: TARGET.fullmatch(part) or _parses(ipaddress.ip_address, part), accepted)


def _checked(value: str, separator: str | None, fits: Callable[[str], object], accepted: str) -> str:
    """The value as it is. Raises ValueError for an entry that does not fit."""
    for part in filter(None, map(str.strip, value.split(separator))):
        if not fits(part):
            raise ValueError(f"{part!r} is none of {accepted}")
    return value


def _parses(parse: Callable[[str], object], text: str) -> bool:
    """Whether it is what `parse` reads, which raises ValueError otherwise."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


HostNames = Annotated[str, AfterValidator(_check_hosts)]
Origins = Annotated[str, AfterValidator(_check_origins)]
Proxies = Annotated[str, AfterValidator(_check_proxies)]
WebhookHosts = Annotated[str, AfterValidator(_check_targets)]
