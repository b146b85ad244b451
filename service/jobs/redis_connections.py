"""Connections to the Redis of a jobs_url, whose primary Redis Sentinel may name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0

MOST_CONNECTIONS = 64
"""Of one client, unless the URL says max_connections."""

SENTINEL_PORT = 26379
"""Where a Sentinel listens unless its address names a port."""

SENTINEL_FORM = "redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/database]"

SENTINEL_URL = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<credentials>[^/?#]*@)?(?P<hosts>[^@/?#]+)"
    r"/(?P<service>[^/?#]+)(?P<database>/\d+)?/?(?P<query>\?[^#]*)?"
)
HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:,]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class RedisConnections:
    """The clients of one jobs_url."""

    redis: Redis
    sentinels: Sequence[Redis] = ()

    @property
    def most(self) -> int:
        """How many commands Redis can be sent at a time; redis-py fails the next one."""
        most: int = self.redis.connection_pool.max_connections
        return most

    async def close(self) -> None:
        """Close all connections."""
        for client in (self.redis, *self.sentinels):
            await client.aclose()


def redis_connections(url: str) -> RedisConnections:
    """Clients that connect when they are first used. Raises ValueError for a URL that cannot be read."""
    if "+sentinel://" in url:
        return _by_sentinel(url)
    return RedisConnections(Redis.from_url(url, **_connection_options()))


def _by_sentinel(url: str) -> RedisConnections:
    """The primary of a service. The Sentinels are asked for it whenever a connection is made."""
    parts = SENTINEL_URL.fullmatch(url)
    hosts = [HOST.fullmatch(host) for host in parts["hosts"].split(",")] if parts is not None else [None]
    if parts is None or None in hosts:
        raise ValueError(f"jobs_url must be like {SENTINEL_FORM}")
    options = _redis_options(parts)
    of_sentinels = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    of_sentinels |= {name: value for name, value in options.items() if name.startswith("ssl")}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts if host is not None],
        sentinel_kwargs=_connection_options() | of_sentinels,
        **_connection_options() | options,
    )
    return RedisConnections(sentinel.master_for(unquote(parts["service"])), sentinel.sentinels)


def _address(host: re.Match[str]) -> tuple[str, int]:
    return host["ipv6"] or host["name"], int(host["port"] or SENTINEL_PORT)


def _redis_options(parts: re.Match[str]) -> dict[str, Any]:
    """Credentials, database and query, as redis-py reads them in the URL of a single server."""
    rest = "".join(parts[name] or "" for name in ("database", "query"))
    options: dict[str, Any] = {**parse_url(f"{parts['scheme']}://{parts['credentials'] or ''}server{rest}")}
    del options["host"]
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    return options


def _connection_options() -> dict[str, Any]:
    retry = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))  # a connection from before a restart of Redis
    timeouts = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS}
    return {**timeouts, "retry": retry, "max_connections": MOST_CONNECTIONS}
