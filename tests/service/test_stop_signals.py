import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.stop_signals import kills, stop_signals


@contextmanager
def hangup(handler: signal.Handlers) -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def _terminal() -> Iterator[None]:
    with hangup(signal.SIG_DFL):
        yield


@pytest.fixture
def _nohup() -> Iterator[None]:
    with hangup(signal.SIG_IGN):
        yield


@pytest.mark.usefixtures("_terminal")
def test_service_stops_when_its_terminal_is_closed() -> None:
    assert stop_signals() == (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    assert [kills(number) for number in stop_signals()] == [True, True, False]


@pytest.mark.usefixtures("_nohup")
def test_service_that_nohup_has_started_stays() -> None:
    assert stop_signals() == (signal.SIGTERM, signal.SIGINT)
