import re

import pytest
from pydantic import ValidationError

from service.settings import Settings, wrong_values


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("allowed_hosts", "https://pastiche.example", "https://pastiche.example"),
        ("allowed_hosts", "pastiche.example,pastiche.example:8000", "pastiche.example:8000"),
        ("allowed_hosts", "pastiche.*", "pastiche.*"),
        ("cors_origins", "app.example", "app.example"),
        ("cors_origins", "https://app.example, https://other.example/", "https://other.example/"),
        ("cors_origins", "https://*.example", "https://*.example"),
        ("forwarded_allow_ips", "nginx", "nginx"),
        ("forwarded_allow_ips", "10.0.0.1,172.18.0.2/16", "172.18.0.2/16"),
        ("forwarded_allow_ips", "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
        ("forwarded_allow_ips", "10.0.0.1,*", "*"),
        ("webhook_hosts", "app,10.0.0.7", "app,10.0.0.7"),
        ("webhook_hosts", "app http://app", "http://app"),
        ("webhook_hosts", "app:8080", "app:8080"),
        ("webhook_hosts", "10.0.0.0/8", "10.0.0.0/8"),
    ],
)
def test_entry_of_a_list_that_nothing_would_match_is_refused(name: str, value: str, wrong: str) -> None:
    with pytest.raises(ValidationError, match=f"{re.escape(repr(wrong))} is none of the .*, such as ") as refused:
        Settings.model_validate({name: value})
    assert [fault["loc"] for fault in wrong_values(refused.value)] == [(name,)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", "pastiche.example, *.example.com,localhost,127.0.0.1,[::1]"),
        ("allowed_hosts", "*"),
        ("cors_origins", "https://app.example, http://localhost:3000,http://[::1]:80,null,chrome-extension://abc"),
        ("cors_origins", "*"),
        ("forwarded_allow_ips", "127.0.0.1, ::1,10.0.0.0/8,fd00::/8"),
        ("forwarded_allow_ips", ""),
        ("forwarded_allow_ips", "*"),
        ("webhook_hosts", "app 10.0.0.7  ::1 bücher.example"),
    ],
)
def test_entries_of_lists_are_as_they_were(name: str, value: str) -> None:
    assert getattr(Settings.model_validate({name: value}), name) == value
