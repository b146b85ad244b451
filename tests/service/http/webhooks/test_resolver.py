import asyncio

import pytest

from service.http.webhooks.resolver import Resolver


def addresses(host: str) -> list[str]:
    return asyncio.run(Resolver().addresses(host, 443))


def test_name_has_its_addresses() -> None:
    assert "127.0.0.1" in addresses("localhost")


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1"])
def test_address_in_any_notation_is_itself(host: str) -> None:
    assert addresses(host) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["host.invalid", f"{'x' * 64}.example", ""])
def test_name_that_cannot_exist_is_an_error(host: str) -> None:
    with pytest.raises(OSError, match=r"not known|no name of a host|failure|No address"):
        addresses(host)
