"""What ends a worker is tested in test_pool.py."""

import resource
import threading

import pytest

from service.errors import CorruptImage, OutOfResources
from service.imaging.workers.messages import message_sockets, receive, send
from service.imaging.workers.task import Budget, CodecTask, TaskOutcome
from service.imaging.workers.worker import perform, serve

MIB = 2**20
BUDGET = Budget(60, 512 * MIB)


def refuse() -> None:
    raise CorruptImage("torn", where="below")


def test_value_is_answered() -> None:
    assert perform(CodecTask(divmod, (7, 2), BUDGET)) == TaskOutcome((3, 1))


def test_failure_is_answered_without_its_traceback() -> None:
    failure = perform(CodecTask(refuse, (), BUDGET)).failure
    assert isinstance(failure, CorruptImage)
    assert (failure.detail, failure.members, failure.__traceback__) == ("torn", {"where": "below"}, None)


def test_defect_is_answered_with_its_traceback() -> None:
    defect = perform(CodecTask(divmod, (1, 0), BUDGET)).defect
    assert defect.startswith("Traceback")
    assert "ZeroDivisionError" in defect


def wrap_lack_of_memory() -> None:
    raise OutOfResources("no memory") from MemoryError()


def test_lack_of_memory_is_answered() -> None:
    assert perform(CodecTask(bytearray, (2**50,), BUDGET)) == TaskOutcome(out_of_memory=True)
    assert perform(CodecTask(wrap_lack_of_memory, (), BUDGET)) == TaskOutcome(out_of_memory=True)


@pytest.mark.parametrize("arguments", [(1, 1), (1, 0)])
def test_limits_hold_for_the_task_alone(arguments: tuple[int, int]) -> None:
    kinds = resource.RLIMIT_AS, resource.RLIMIT_CPU
    before = [resource.getrlimit(kind) for kind in kinds]
    perform(CodecTask(divmod, arguments, BUDGET), idle_memory=2**42)
    assert [resource.getrlimit(kind) for kind in kinds] == before


def test_worker_serves_until_the_other_end_is_closed() -> None:
    ours, theirs = message_sockets()
    worker = threading.Thread(target=serve, args=(theirs,))
    worker.start()
    with ours, theirs:
        for number in range(3):
            send(ours, CodecTask(abs, (-number,), BUDGET))
            assert receive(ours) == TaskOutcome(number)
        ours.close()
        worker.join()
