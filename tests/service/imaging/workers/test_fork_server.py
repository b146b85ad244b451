"""What it does for a launcher is tested in test_launcher.py."""

import socket
import subprocess
import sys

from service.imaging.workers.fork_server import NUMBER, UNKNOWN, WAIT, answer_next


def test_it_ends_with_its_socket() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "service.imaging.workers.fork_server", str(theirs.fileno())]
    with theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        ours.close()
        assert process.wait() == 0


def test_no_command_is_the_last_one() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        assert not answer_next(theirs)


def test_end_of_a_process_that_is_no_worker_is_not_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(WAIT + NUMBER.pack(1))
        assert answer_next(theirs)
        assert NUMBER.unpack(ours.recv(NUMBER.size)) == (UNKNOWN,)
