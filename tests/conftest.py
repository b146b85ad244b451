"""What every test finds: signals that end processes, no log of another test, and the same random numbers and examples.

A shell that starts a command in the background, or `nohup`, has it ignore some signals.
"""

import gc
import logging
import signal
from collections.abc import Generator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

DEFAULTS: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}


def pytest_configure() -> None:
    """Have processes that tests start end by the signals they are sent, and examples depend on no chance or clock."""
    too_slow = [HealthCheck.too_slow]
    settings.register_profile("pastiche", derandomize=True, deadline=None, suppress_health_check=too_slow)
    settings.load_profile("pastiche")
    for number, default in DEFAULTS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all tests without collections, and leave the million objects that stay out of those of the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Undo how a command set up logging: its handler would write to a stream that pytest has closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return (yield)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give a test the same random numbers whatever ran before it in its process.

    Without a GPU, `torch.manual_seed` would take a millisecond to record the stack for each kind of device.
    """
    seed = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed
    seed(0)
