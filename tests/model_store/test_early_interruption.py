import signal
import subprocess
import sys
import threading

from model_store.early_interruption import ended_by_ctrl_c

SWALLOWING = """
import signal
from model_store.early_interruption import ended_by_ctrl_c
signal.signal(signal.SIGINT, signal.default_int_handler)
with ended_by_ctrl_c():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        print("swallowed")
print("went on")
"""


def test_ctrl_c_ends_the_process_whatever_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_handler_is_as_before_after_the_block() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ended_by_ctrl_c():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_in_the_background_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ended_by_ctrl_c():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_installed() -> None:
    found: list[bool] = []

    def enter() -> None:
        before = signal.getsignal(signal.SIGINT)
        with ended_by_ctrl_c():
            found.append(signal.getsignal(signal.SIGINT) == before)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]
