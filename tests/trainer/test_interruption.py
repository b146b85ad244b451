import os
import signal
import threading

import pytest

from trainer.errors import Interrupted
from trainer.interruption import SIGNALS, interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_sets_the_event_and_its_handler_is_as_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interruption() as stop_requested:
        assert signal.getsignal(number) != before
        assert not stop_requested.is_set()
        os.kill(os.getpid(), number)
        assert stop_requested.wait(10)
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_the_second_ctrl_c_has_its_usual_effect() -> None:
    with interruption() as stop_requested:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop_requested.wait(10)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_restored_where_the_run_fails() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(MemoryError), interruption():
        raise MemoryError
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_the_exit_status_tells_the_signal(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as error, interruption() as stop_requested:
        _stop(stop_requested, number)
    assert error.value.exit_status == 128 + number


def test_a_stop_without_a_signal_has_the_exit_status_of_ctrl_c() -> None:
    with pytest.raises(Interrupted) as error, interruption():
        raise Interrupted("asked for on the page")
    assert error.value.exit_status == 130


def _stop(stop_requested: threading.Event, number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    assert stop_requested.wait(10)
    raise Interrupted("stopped")


def test_in_another_thread_nothing_is_installed() -> None:
    found: list[bool] = []

    def run() -> None:
        before = signal.getsignal(signal.SIGINT)
        with interruption() as stop_requested:
            found.extend([stop_requested.is_set(), signal.getsignal(signal.SIGINT) == before])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False, True]
