"""How a jobs_url becomes connections, and a failover that Redis Sentinel makes."""

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from service.errors import JobsUnavailable
from service.jobs.redis_connections import RedisConnections, redis_connections
from service.jobs.redis_store import RedisJobStore
from service.jobs.store import RunClaim
from service.telemetry.metrics import Metrics
from tests.service.jobs.redis_sentinel import PASSWORD, SENTINEL_PASSWORD, SERVICE, watched_redis
from tests.service.jobs.stores import FILES, SUCCESS, owned
from tests.service.live import PATIENCE, settings


def options(connections: RedisConnections) -> list[dict[str, Any]]:
    """How each client connects: to Redis first, then to the Sentinels."""
    clients = (connections.redis, *connections.sentinels)
    return [client.connection_pool.connection_kwargs for client in clients]


def test_sentinels_are_named_by_host_address_and_port() -> None:
    redis, *sentinels = options(redis_connections("redis+sentinel://one,two.example:7000,[::1]:7001/jobs/3"))
    assert redis["db"] == 3
    found = [(sentinel["host"], sentinel["port"]) for sentinel in sentinels]
    assert found == [("one", 26379), ("two.example", 7000), ("::1", 7001)]
    assert {sentinel["password"] for sentinel in sentinels} == {None}


def test_credentials_and_certificates_are_for_redis_and_for_sentinels() -> None:
    query = "ssl_ca_certs=%2Fca.pem&sentinel_username=guard&sentinel_password=two&socket_timeout=3"
    redis, sentinel = options(redis_connections(f"rediss+sentinel://user:p%40ss@one/my%20jobs?{query}"))
    assert (redis["username"], redis["password"], redis["socket_timeout"]) == ("user", "p@ss", 3.0)
    assert (sentinel["username"], sentinel["password"]) == ("guard", "two")
    assert redis["ssl_ca_certs"] == sentinel["ssl_ca_certs"] == "/ca.pem"


@pytest.mark.parametrize("rest", ["one", "one/", "/jobs", "one,/jobs", "one:seven/jobs", "one/jobs/x", ":hidden/0@one"])
def test_malformed_url_of_sentinels_tells_the_form_without_its_password(rest: str) -> None:
    with pytest.raises(ValueError, match=re.escape("jobs_url must be like redis+sentinel://")) as refused:
        redis_connections(f"redis+sentinel://{rest}")
    assert "hidden" not in str(refused.value)


async def finished(store: RedisJobStore, claim: RunClaim) -> bool:
    """End a job with `painted`, as soon as the Sentinel names the new primary."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await store.finish(claim, SUCCESS, b"painted") == SUCCESS
            except JobsUnavailable:
                await asyncio.sleep(0.05)


def test_jobs_outlive_a_failover(tmp_path: Path) -> None:
    async def scenario() -> None:
        with watched_redis(tmp_path) as watched:
            hosts = f"127.0.0.1:1,127.0.0.1:{watched.sentinel_port}"
            query = f"sentinel_password={quote(SENTINEL_PASSWORD)}"
            url = f"redis+sentinel://:{quote(PASSWORD)}@{hosts}/{SERVICE}/1?{query}"
            store = RedisJobStore(settings(tmp_path, jobs_url=url), Metrics())
            await store.create(owned("before"), FILES)
            claim = await store.claim_run()
            assert claim is not None
            await asyncio.to_thread(watched.fail_over)
            assert await finished(store, claim)
            assert await store.result("before") == b"painted"
            assert store.trouble is None
            await store.create(owned("after"), FILES)
            await store.close()

    asyncio.run(scenario())


def test_service_that_no_sentinel_knows_is_not_available(tmp_path: Path) -> None:
    async def ask() -> None:
        store = RedisJobStore(settings(tmp_path, jobs_url="redis+sentinel://127.0.0.1:1/jobs"), Metrics())
        with pytest.raises(JobsUnavailable, match="Redis cannot be reached"):
            await store.find("one")
        await store.close()

    asyncio.run(ask())
