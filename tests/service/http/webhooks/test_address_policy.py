import asyncio
from ipaddress import ip_address

import pytest

from service.http.webhooks.address_policy import AddressPolicy, ForbiddenTarget, is_public


class Names:
    """A name server that knows one list of addresses after the other, whatever it is asked for."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def addresses(self, host: str, port: int) -> list[str]:  # noqa: ARG002
        answer = self._answers.pop(0)
        if not answer:
            raise OSError("no such host")
        return answer


def found(policy: AddressPolicy, url: str = "https://receiver.example/") -> list[str]:
    return asyncio.run(policy.addresses(policy.parse(url)))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # the metadata of cloud machines
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://receiver.example/", "must begin with https://"),
        ("ftp://receiver.example/", "must begin with https://"),
        ("file:///etc/passwd", "must name a host"),
        ("receiver.example/painted", "must name a host"),
        ("https:///painted", "must name a host"),
        ("https://user:password@receiver.example/", "neither user nor password"),
        ("https://receiver.example:port/", "is no URL"),
        ("https://xn--a/", "is no URL"),
        ("https://xn--xn--/", "is no URL"),
        ("https://receiver.example/\ud800", "is no URL"),
        ("https://[fe80::1%25\xe9]/", "is no URL"),
        ("https://receiver.example:0/", "its port must be 1 to 65535"),
        ("https://receiver.example:65536/", "its port must be 1 to 65535"),
        (f"https://receiver.example:{10**24}/", "its port must be 1 to 65535"),
        (f"https://receiver.example:{'9' * 5000}/", "more than 2048 characters"),
        ("", "must name a host"),
        (f"https://receiver.example/{'x' * 2048}", "more than 2048 characters"),
    ],
)
def test_url_that_is_not_accepted_says_what_would_be(url: str, reason: str) -> None:
    with pytest.raises(ForbiddenTarget, match=reason):
        AddressPolicy(Names()).parse(url)


@pytest.mark.parametrize("port", [1, 443, 65535])
def test_port_is_what_ports_can_be(port: int) -> None:
    url = AddressPolicy(Names()).parse(f"https://receiver.example:{port}/")
    assert url.port == (None if port == 443 else port)


def test_public_addresses_are_given_as_they_were_found() -> None:
    assert found(AddressPolicy(Names(["1.1.1.1", "2606:4700::1111"]))) == ["1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["::ffff:10.0.0.1"]])
def test_one_address_that_is_not_public_is_enough(addresses: list[str]) -> None:
    with pytest.raises(ForbiddenTarget, match="no address was found") as refused:
        found(AddressPolicy(Names(addresses)))
    assert "10.0.0.1" not in str(refused.value)


def test_host_that_is_not_known_is_an_error_of_the_network() -> None:
    with pytest.raises(OSError, match="no such host"):
        found(AddressPolicy(Names([])))


def test_name_that_is_bound_to_another_address_is_looked_at_again() -> None:
    policy = AddressPolicy(Names(["1.1.1.1"], ["127.0.0.1"]))
    assert found(policy) == ["1.1.1.1"]
    with pytest.raises(ForbiddenTarget):
        found(policy)


def test_trusted_host_may_have_any_address_and_no_tls() -> None:
    policy = AddressPolicy(Names(["10.0.0.7"], ["127.0.0.1"]), ["Hooks.Internal", "127.0.0.1"])
    assert found(policy, "http://hooks.internal:8080/") == ["10.0.0.7"]
    assert found(policy, "http://127.0.0.1/") == ["127.0.0.1"]
    with pytest.raises(ForbiddenTarget, match="https"):
        policy.parse("http://other.hooks.internal/")


@pytest.mark.parametrize(
    ("trusted", "host"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "BÜCHER.example"),
        ("fd00:0::a", "[FD00::A]"),
        ("FD00::A", "[fd00:0::a]"),
        ("my_app", "My_App"),
    ],
)
def test_host_is_trusted_in_any_spelling(trusted: str, host: str) -> None:
    assert found(AddressPolicy(Names(["10.0.0.7"]), [trusted]), f"http://{host}/") == ["10.0.0.7"]
