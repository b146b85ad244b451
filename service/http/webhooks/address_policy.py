"""Where webhooks may go: to public addresses by HTTPS, and to the hosts that the operator trusts.

Without it, a client could use the service to reach what only the service can reach (server-side request forgery).
"""

from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Protocol

import httpx

MAX_URL_LENGTH = 2048

PORTS = range(1, 2**16)
"""Those of TCP; 0 is none (RFC 6335, section 6)."""

NO_ADDRESS = "no address was found that it may have: a public one, or any of a host of the setting webhook_hosts"
"""The same whether the host is unknown or private, since clients must not learn which names there are inside."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All IPv6 addresses of the Internet that are assigned so far (RFC 4291, section 2.4)."""

NAT64 = IPv6Network("64:ff9b::/96")
"""IPv6 addresses that a gateway translates to the IPv4 address in their last 32 bits (RFC 6052)."""

Address = IPv4Address | IPv6Address


class ForbiddenTarget(Exception):
    """A webhook must not go there; the message says what would be accepted, and no address."""


class Addresses(Protocol):
    """Finds the addresses of a host."""

    async def addresses(self, host: str, port: int) -> list[str]:
        """Raises OSError where it has none."""


class AddressPolicy:
    """Decides on URLs, and on the addresses that their hosts have at the moment."""

    def __init__(self, resolver: Addresses, trusted: Collection[str] = ()) -> None:
        """`trusted`: names or addresses of hosts to which every address and plain HTTP is allowed."""
        self._resolver = resolver
        self._trusted = frozenset(map(_spelled, trusted))

    def parse(self, url: str) -> httpx.URL:
        """The URL of a target. Raises ForbiddenTarget."""
        parsed = _parsed(url)
        if not parsed.host or parsed.userinfo:
            raise ForbiddenTarget("it must name a host, and neither user nor password")
        if parsed.port is not None and parsed.port not in PORTS:
            raise ForbiddenTarget(f"its port must be {PORTS[0]} to {PORTS[-1]}")
        if parsed.scheme != "https" and not (parsed.scheme == "http" and self._trusts(parsed)):
            raise ForbiddenTarget("it must begin with https://; http:// is for the hosts of the setting webhook_hosts")
        return parsed

    async def addresses(self, url: httpx.URL) -> list[str]:
        """Where the host is now. A connection must go to one of these, or another lookup could lead elsewhere.

        Raises ForbiddenTarget where one of them is not public, OSError where the host has none.
        """
        found = await self._resolver.addresses(url.raw_host.decode(), url.port or 0)
        if not (self._trusts(url) or all(is_public(ip_address(address)) for address in found)):
            raise ForbiddenTarget(NO_ADDRESS)
        return found

    def _trusts(self, url: httpx.URL) -> bool:
        return _spelled(url.host) in self._trusted


def _parsed(url: str) -> httpx.URL:
    """A URL whose host can be read. Raises ForbiddenTarget."""
    if len(url) > MAX_URL_LENGTH:
        raise ForbiddenTarget(f"it has more than {MAX_URL_LENGTH} characters")
    try:
        parsed = httpx.URL(url)
        _ = parsed.host, parsed.raw_host  # decoded and encoded only now: IDNA's errors are UnicodeErrors
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ForbiddenTarget(f"it is no URL: {error}") from error
    return parsed


def _spelled(host: str) -> str:
    """A host in the one spelling in which hosts are compared: names in lower case, and not encoded (RFC 5891)."""
    with suppress(ValueError):
        return str(ip_address(host))
    with suppress(httpx.InvalidURL, UnicodeError):
        return httpx.URL(scheme="https", host=host).host
    return host.lower()


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet: not private, loopback, link-local, multicast, or reserved.

    An IPv6 address that stands for an IPv4 address is judged by that.
    """
    embedded = _embedded(address)
    if embedded is not None:
        return is_public(embedded)
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
