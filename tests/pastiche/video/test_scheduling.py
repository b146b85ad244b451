import os
import sys
import threading
from pathlib import Path

import pytest

from pastiche.video.encoder import write_segment
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.scheduling import THREADS, unchanged_scheduling
from tests.pastiche.video.clips import require_encoder
from tests.pastiche.video.test_encoder import TIMING, painted

if sys.platform != "linux":
    pytest.skip("schedulers are Linux's", allow_module_level=True)

REAL_TIME = os.sched_param(1)


def policies() -> set[int]:
    """Of all threads of this process."""
    return {os.sched_getscheduler(int(entry.name)) for entry in THREADS.iterdir()}


def require_real_time() -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, REAL_TIME)
    except PermissionError:
        pytest.skip("needs the right to have real-time priority, as root has")
    os.sched_setscheduler(0, *before)


def test_threads_that_take_real_time_priority_lose_it() -> None:
    require_real_time()
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    try:
        with unchanged_scheduling():
            os.sched_setscheduler(0, os.SCHED_FIFO, REAL_TIME)
            os.sched_setscheduler(thread.native_id or 0, os.SCHED_RR, REAL_TIME)
            assert policies() >= {os.SCHED_FIFO, os.SCHED_RR}
        assert policies() == {os.SCHED_OTHER}
    finally:
        go_on.set()
        thread.join()


def test_other_schedulers_stay() -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with unchanged_scheduling():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
    finally:
        os.sched_setscheduler(0, *before)


def test_an_encoder_takes_no_real_time_priority(tmp_path: Path) -> None:
    """SVT-AV1 does where it may: all that ran on the machine waited for it, and for the rest of the process."""
    require_encoder("libsvtav1")
    require_real_time()
    frames = iter([painted(0, 0), painted(1, 24)])
    write_segment(tmp_path / "one.mp4", frames, TIMING, EncoderOptions(codec="libsvtav1"))
    assert policies() == {os.SCHED_OTHER}
