"""The quotas of clients without a key, one for each address."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network, ip_address
from time import monotonic

from service.http.access.api_key import LimitPolicy
from service.http.access.quota import Quota

MAX_ADDRESSES = 65_536
"""Addresses that are remembered; some 600 bytes each."""

IPV6_BITS = 64
"""The bits of an IPv6 address that count: a household has all the others to itself."""


class AddressQuotas:
    """Of too many addresses, the one that was seen least recently is forgotten, unless it has requests in flight."""

    def __init__(
        self, policy: LimitPolicy, max_addresses: int = MAX_ADDRESSES, clock: Callable[[], float] = monotonic
    ) -> None:
        self._policy = policy
        self._max_addresses = max_addresses
        self._clock = clock
        self._known: OrderedDict[str, Quota] = OrderedDict()
        self._unlimited = Quota(policy, clock) if policy == LimitPolicy() else None

    def __len__(self) -> int:
        return len(self._known)

    def find(self, network: str) -> Quota:
        """The quota of a network, as `client_network` names it."""
        if self._unlimited is not None:
            return self._unlimited
        quota = self._known.pop(network, None) or self._new()
        self._known[network] = quota
        return quota

    def _new(self) -> Quota:
        if len(self._known) >= self._max_addresses:
            idle = next((network for network, quota in self._known.items() if not quota.in_flight), None)
            del self._known[idle if idle is not None else next(iter(self._known))]
        return Quota(self._policy, self._clock)


def client_network(address: str) -> str:
    """What stands for a client: an IPv4 address, the first 64 bits of an IPv6 address, else the text itself."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), IPV6_BITS), strict=False))
