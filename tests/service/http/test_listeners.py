import socket
from pathlib import Path

import pytest

from service.http.listeners import address_of, open_listener, open_metrics_listener, try_addresses
from service.settings import Settings


def connect(listener: socket.socket) -> None:
    """Raises OSError where nobody listens."""
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())


def test_port_is_bound_and_left_to_others_to_listen_on() -> None:
    with open_listener(Settings(port=0)) as listener:
        host, port = listener.getsockname()
        assert address_of(listener) == f"{host}:{port}" == f"127.0.0.1:{port}"
        with pytest.raises(ConnectionRefusedError):
            connect(listener)
        listener.listen()
        connect(listener)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_address_of_ipv6_has_brackets() -> None:
    try:
        listener = open_listener(Settings(host="::1", port=0))
    except OSError:
        pytest.skip("needs an IPv6 address")
    with listener:
        assert address_of(listener) == f"[::1]:{listener.getsockname()[1]}"


def test_processes_share_a_port() -> None:
    with open_listener(Settings(port=0)) as reserved:
        chosen = Settings(port=reserved.getsockname()[1])
        with open_listener(chosen) as one, open_listener(chosen) as other:
            one.listen()
            other.listen()
            for _ in range(20):
                connect(one)
            for listener in (one, other):
                listener.settimeout(0)
                listener.accept()[0].close()


def test_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            open_listener(Settings(port=port))


@pytest.mark.parametrize("port", ["port", "metrics_port"])
def test_address_that_cannot_be_had_is_told_at_once(port: str) -> None:
    host = {"port": "host", "metrics_port": "metrics_host"}[port]
    try_addresses(Settings.model_validate({"port": 0, port: 0}))
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"^cannot listen on 127.0.0.1:{number}: Address already in use$"):
            try_addresses(Settings.model_validate({"port": 0, port: number}))
    for unknown, reason in [("no.host.invalid", r"\w.*"), ("a" * 80, "no host can have that name")]:
        with pytest.raises(OSError, match=f"^cannot listen on {unknown}:0: {reason}$"):
            try_addresses(Settings.model_validate({"port": 0, port: 0, host: unknown}))


def test_unix_socket_takes_the_place_of_one_that_was_left(tmp_path: Path) -> None:
    path = tmp_path / "pastiche.sock"
    open_listener(Settings(uds=path)).close()
    with open_listener(Settings(uds=path)) as listener:
        assert address_of(listener) == str(path)
        assert path.stat().st_mode & 0o777 == 0o666
        listener.listen()
        connect(listener)


def test_file_in_the_place_of_a_unix_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(OSError, match=r"cannot listen on .*notes.txt: Address already in use"):
        open_listener(Settings(uds=path))
    assert path.read_text() == "mine"


def test_metrics_have_a_listener_where_they_have_a_port() -> None:
    assert open_metrics_listener(Settings()) is None
    listener = open_metrics_listener(Settings(metrics_port=0))
    assert listener is not None
    with listener:
        assert address_of(listener).startswith("127.0.0.1:")


def test_unix_socket_has_one_owner_from_the_moment_it_is_bound(tmp_path: Path) -> None:
    """Also before it is served, which takes the seconds in which a service starts."""
    settings = Settings(uds=tmp_path / "pastiche.sock")
    with open_listener(settings) as listener:
        for attempt in (open_listener, try_addresses):
            with pytest.raises(OSError, match="another process listens there"):
                attempt(settings)
        connect(listener)
