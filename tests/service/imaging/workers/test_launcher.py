import os
import signal
import socket
from collections.abc import Iterator

import pytest

from service.errors import OutOfResources
from service.imaging.workers.launcher import WorkerLauncher
from service.imaging.workers.messages import receive, send
from service.imaging.workers.task import Budget, CodecTask, TaskOutcome

BUDGET = Budget(60, 2**29)


@pytest.fixture
def launcher() -> Iterator[WorkerLauncher]:
    launcher = WorkerLauncher()
    yield launcher
    launcher.close()


def parent_of(connection: socket.socket) -> int:
    """The fork server of a worker."""
    send(connection, CodecTask(os.getppid, (), BUDGET))
    return int(receive(connection).value)


def test_worker_performs_tasks_and_ends_with_its_socket(launcher: WorkerLauncher) -> None:
    pid, connection = launcher.fork()
    with connection:
        send(connection, CodecTask(os.getpid, (), BUDGET))
        assert receive(connection) == TaskOutcome(pid)
    assert launcher.wait(pid) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_worker_has_no_torch_and_one_thread_for_numbers(launcher: WorkerLauncher) -> None:
    _, connection = launcher.fork()
    with connection:
        source = "[__import__('os').environ['OPENBLAS_NUM_THREADS'], 'torch' in __import__('sys').modules]"
        send(connection, CodecTask(eval, (source,), BUDGET))
        assert receive(connection).value == ["1", False]


def test_exit_code_of_a_killed_worker_is_the_signal(launcher: WorkerLauncher) -> None:
    pid, connection = launcher.fork()
    with connection:
        os.kill(pid, signal.SIGKILL)
        assert receive(connection) is None
        assert launcher.wait(pid) == -signal.SIGKILL


def test_exit_code_of_an_unknown_process_is_not_known(launcher: WorkerLauncher) -> None:
    assert launcher.wait(os.getpid()) is None
    _, connection = launcher.fork()
    with connection:
        assert launcher.wait(os.getpid()) is None
        assert parent_of(connection)


def test_signals_to_the_whole_group_end_no_worker(launcher: WorkerLauncher) -> None:
    pid, connection = launcher.fork()
    with connection:
        for process in (pid, parent_of(connection)):
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGINT)
            os.kill(process, signal.SIGHUP)
        assert parent_of(connection)
        launcher.fork()[1].close()


def test_fork_server_that_was_killed_is_started_again(launcher: WorkerLauncher) -> None:
    _, connection = launcher.fork()
    with connection:
        first = parent_of(connection)
    os.kill(first, signal.SIGKILL)
    _, connection = launcher.fork()
    with connection:
        assert parent_of(connection) != first


def test_fork_server_that_is_killed_whenever_it_starts_is_a_lack_of_memory(
    launcher: WorkerLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.imaging.workers.launcher.PROGRAM", "this")  # ends at once
    with pytest.raises(OSError, match="killed twice") as raised:
        launcher.fork()
    assert OutOfResources.of(raised.value) is not None


def test_closing_ends_the_fork_server(launcher: WorkerLauncher) -> None:
    _, connection = launcher.fork()
    with connection:
        server = parent_of(connection)
        launcher.close()
        with pytest.raises(ProcessLookupError):
            os.kill(server, 0)
