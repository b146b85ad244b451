"""A primary of Redis, its replica, and the Sentinel that watches them, for tests of a failover."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.servers import reserved_port
from tests.service.jobs.redis_server import MISSING
from tests.service.live import wait_for

SERVICE, PASSWORD, SENTINEL_PASSWORD = "jobs", "of redis", "of sentinel"

SENTINEL = f"""
sentinel monitor {SERVICE} 127.0.0.1 %d 1
sentinel auth-pass {SERVICE} "{PASSWORD}"
sentinel down-after-milliseconds {SERVICE} 2000
sentinel failover-timeout {SERVICE} 5000
"""


@dataclass(frozen=True)
class WatchedRedis:
    """Two servers, of which the second repeats the first, and their Sentinel."""

    primary: subprocess.Popen[bytes]
    primary_client: Redis
    replica_client: Redis
    sentinel_port: int

    def fail_over(self) -> None:
        """Kill the primary once its replica has all writes; return when the replica takes writes."""
        assert self.primary_client.wait(1, 10_000) == 1
        self.primary.kill()
        self.primary.wait()
        wait_for(lambda: _role(self.replica_client), lambda role: role == "master")


@contextmanager
def watched_redis(folder: Path) -> Iterator[WatchedRedis]:
    """The three for the length of the block. Skips the test where there is no redis-server."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    with ExitStack() as stack:
        ports = [stack.enter_context(reserved_port()) for _ in range(3)]
        primary, replica, sentinel = (_config(folder / str(port), port) for port in ports)
        _append(replica, f"replicaof 127.0.0.1 {ports[0]}\n")
        for config in (primary, replica):
            _append(config, f'requirepass "{PASSWORD}"\nmasterauth "{PASSWORD}"\nsave ""\nrepl-diskless-sync-delay 0\n')
        _append(sentinel, SENTINEL % ports[0] + f'requirepass "{SENTINEL_PASSWORD}"\n')
        first = stack.enter_context(_running(primary))
        stack.enter_context(_running(replica))
        of_primary, of_replica = (stack.enter_context(Redis(port=port, password=PASSWORD)) for port in ports[:2])
        wait_for(lambda: _info(of_replica).get("master_link_status"), lambda status: status == "up")
        stack.enter_context(_running(sentinel, "--sentinel"))
        watching = stack.enter_context(Redis(port=ports[2], password=SENTINEL_PASSWORD))
        wait_for(_usable_replicas(watching), lambda usable: usable == 1)
        yield WatchedRedis(first, of_primary, of_replica, ports[2])


def _config(folder: Path, port: int) -> Path:
    folder.mkdir()
    config = folder / "redis.conf"
    config.write_text(f'port {port}\nbind 127.0.0.1\ndir "{folder}"\nloglevel warning\n')
    return config


def _append(config: Path, lines: str) -> None:
    config.write_text(config.read_text() + lines)


@contextmanager
def _running(config: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["redis-server", str(config), *options], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _usable_replicas(sentinel: Redis) -> Callable[[], int]:
    """How many replicas the Sentinel could promote."""

    def count() -> int:
        try:
            replicas = sentinel.sentinel_slaves(SERVICE)
        except (RedisError, OSError):
            return 0
        return sum(replica["master-link-status"] == "ok" for replica in replicas)

    return count


def _info(client: Redis) -> dict[str, Any]:
    try:
        return client.info("replication")
    except (RedisError, OSError):
        return {}


def _role(client: Redis) -> str | None:
    return _info(client).get("role")
