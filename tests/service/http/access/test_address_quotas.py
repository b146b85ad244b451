import pytest

from service.errors import QuotaExceeded
from service.http.access.address_quotas import AddressQuotas, client_network
from service.http.access.api_key import LimitPolicy

ONE_IN_FLIGHT = LimitPolicy(requests_in_flight=1)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("somebody", "somebody"),
        ("", ""),
    ],
)
def test_client_is_an_ipv4_address_or_an_ipv6_network(address: str, network: str) -> None:
    assert client_network(address) == network


def test_each_address_has_its_own_limits() -> None:
    limits = AddressQuotas(ONE_IN_FLIGHT)
    limits.find("192.0.2.1").enter()
    limits.find("192.0.2.2").enter()
    with pytest.raises(QuotaExceeded):
        limits.find("192.0.2.1").enter()


def test_memory_is_bounded_and_clients_with_requests_in_flight_stay() -> None:
    limits = AddressQuotas(ONE_IN_FLIGHT, max_addresses=2)
    busy = limits.find("192.0.2.1")
    busy.enter()
    for last in range(2, 100):
        limits.find(f"192.0.2.{last}")
    assert len(limits) == 2
    assert limits.find("192.0.2.1") is busy
    for last in range(1, 4):
        limits.find(f"198.51.100.{last}").enter()
    assert len(limits) == 2


def test_nothing_is_remembered_without_limits() -> None:
    limits = AddressQuotas(LimitPolicy())
    assert limits.find("192.0.2.1") is limits.find("192.0.2.2")
    assert len(limits) == 0
