"""The faults of `soak`, each of which happens to running replicas under load."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.checked_load import ask
from benchmarks.hostile_files import chunk_bomb, packet_bomb, scan_bomb
from benchmarks.replicas import Replica

HELD_SECONDS = 5.0
"""How long a store is gone, a disk full, an upload stalled."""

JOBS_MEGABYTES = 32


@dataclass(frozen=True)
class Scene:
    """What faults happen to."""

    steady: Replica
    """Never restarted, so that its memory can be followed."""
    restarted: Replica
    store: Path
    port: int
    """Of the proxy in front of both."""
    path: str
    """Where images are sent."""
    photo: bytes


def kill_worker(scene: Scene) -> None:
    """A codec worker of each replica is killed."""
    for replica in (scene.steady, scene.restarted):
        replica.kill_worker()


def send_bombs(scene: Scene) -> None:
    """Images come that are costly to read. Raises AssertionError where one is not answered in words."""
    for content in (scan_bomb(), chunk_bomb(200_000), packet_bomb(200_000)):
        status, answer = ask(scene.port, f"{scene.path}?size=64&output_size=64", content)
        assert status in (200, 400, 422, 503, 504), f"{status} {answer[:200]!r}"


def leave(scene: Scene) -> None:
    """Clients leave in the head, in the body, while they wait, and in the answer."""
    head = f"POST {scene.path} HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(scene.photo)}\r\n".encode()
    whole = head + b"\r\n" + scene.photo
    for sent, received in ((head, 0), (whole[: len(whole) // 2], 0), (whole, 0), (whole, 20)):
        with socket.create_connection(("127.0.0.1", scene.port), timeout=10) as client, suppress(OSError):
            client.sendall(sent)
            client.recv(received) if received else time.sleep(0.05)


def stall_uploads(scene: Scene) -> None:
    """Thirty clients announce large bodies and stop in the middle."""
    head = f"POST {scene.path} HTTP/1.1\r\nHost: soak\r\nContent-Length: {60 * 10**6}\r\n\r\n".encode()
    clients = [socket.create_connection(("127.0.0.1", scene.port), timeout=10) for _ in range(30)]
    for client in clients:
        with suppress(OSError):  # refused before the body
            client.sendall(head + scene.photo)
    time.sleep(HELD_SECONDS)
    for client in clients:
        client.close()


def remove_store(scene: Scene) -> None:
    """The volume of the store is gone for some seconds."""
    elsewhere = scene.store.with_name("elsewhere")
    scene.store.rename(elsewhere)
    time.sleep(HELD_SECONDS)
    elsewhere.rename(scene.store)


def fill_disk(scene: Scene) -> None:
    """The disk of the jobs is full for some seconds. Raises AssertionError where a job is not refused in words."""
    filler = scene.steady.jobs_folder / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(2**16))
    try:
        deadline = time.monotonic() + HELD_SECONDS
        while time.monotonic() < deadline:
            number = time.monotonic_ns()
            path = f"/v1/jobs/full-{number}?style={scene.path.rsplit('/', 1)[1]}"
            status, answer = ask(scene.steady.server.port, path, scene.photo, "PUT")
            assert status in (201, 503, 507), f"{status} {answer[:200]!r}"
            time.sleep(0.5)
    finally:
        filler.unlink()


def restart(scene: Scene) -> None:
    """A replica is told to end and starts again. Raises AssertionError where it does not end well."""
    status = scene.restarted.restart()
    assert status == 0, f"exit status {status}"


FAULTS: Mapping[str, Callable[[Scene], None]] = {
    "a codec worker is killed": kill_worker,
    "images that are costly to read": send_bombs,
    "clients leave at every stage": leave,
    "uploads stall": stall_uploads,
    "the store is gone": remove_store,
    "the disk of the jobs is full": fill_disk,
    "a replica ends and starts again": restart,
}


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Whether `folder` is a disk of its own for the length of the block, which only the superuser can have."""
    folder.mkdir()
    mount = shutil.which("mount")
    options = f"size={JOBS_MEGABYTES}m"
    mounted = (
        mount is not None
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", options, "none", folder], check=False, stderr=subprocess.DEVNULL
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
