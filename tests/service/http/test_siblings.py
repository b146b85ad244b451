import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.http.siblings import Siblings
from service.http.uvicorn_server import CHECK_SECONDS
from service.telemetry.metrics import Metrics


def jobs_by_process(text: bytes) -> dict[str, float]:
    """How often each process has retried, which these tests let it count."""
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    return {
        sample.labels["process"]: sample.value
        for sample in families["pastiche_relay_retries"].samples
        if sample.name.endswith("_total")
    }


def counted(count: int) -> Metrics:
    metrics = Metrics()
    metrics.relay_retries.inc(count)
    return metrics


def test_process_answers_on_a_connection_that_was_checked(tmp_path: Path) -> None:
    async def run() -> bytes:
        server = Siblings(tmp_path, 0, 2).server(counted(0))
        serving = asyncio.create_task(server.serve())
        await server.listening.wait()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "0.sock")
        await asyncio.sleep(2 * CHECK_SECONDS)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        server.stop(1)
        await serving
        return answer

    assert asyncio.run(run()).startswith(b"HTTP/1.1 200 OK\r\n")


def test_metrics_are_those_of_all_processes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    processes = [Siblings(tmp_path, index, 3) for index in range(3)]

    async def run() -> None:
        server = processes[1].server(counted(5))
        serving = asyncio.create_task(server.serve())
        await server.listening.wait()
        try:
            assert jobs_by_process(await processes[0].scrape(counted(2))) == {"0": 2, "1": 5}
        finally:
            server.stop(1)
            await serving

    asyncio.run(run())
    assert "process 2 does not tell its metrics" in caplog.text
