"""The service on a real cluster of two nodes: what clients get, while replicas come, are replaced and are killed."""

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.servers import free_port
from tests.service.imaging.images import file, photo
from tests.service.live import publish, serving, wait_for

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

from service.ray.application import Options, build  # noqa: E402 # after it is known that there is Ray

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

TILE_VALUES = 2**20

PATIENCE = 240.0
"""A replica takes a minute to start on a machine that has much to do; nothing is measured with it."""

STYLIZE = "/v1/stylize/{style}"
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "0",
}
"""For all processes of the cluster, on a machine that has other work."""


@dataclass
class RayCluster:
    """A running application on two nodes, each with room for one device."""

    client: httpx.Client
    deploy: Callable[[str], None]
    """Replaces all replicas by those of a release."""
    kill_node: Callable[[], None]
    """Kills the node that has no ingress, with everything on it."""

    def instances(self, family: str) -> dict[str, float]:
        """The sums of the samples of a counter or gauge of images answered, by replica; none while none is reached."""
        found: defaultdict[str, float] = defaultdict(float)
        answer = self.client.get("/metrics")
        assert answer.status_code in (200, 503), answer.text
        for each in text_string_to_metric_families(answer.text if answer.is_success else ""):
            for sample in each.samples:
                if sample.name == family and sample.labels.get("route", "/v1/stylize/{style}").startswith(
                    "/v1/stylize"
                ):
                    found[sample.labels["instance"]] += sample.value
        return dict(found)

    def devices(self) -> set[str]:
        """The names of the replicas with a device."""
        return set(self.instances("pastiche_backlog_seconds"))


@dataclass
class Load:
    """Clients that ask for images, one after the other, until they are stopped."""

    base: str
    statuses: list[int] = field(default_factory=list)
    contents: set[bytes] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def _ask(self) -> None:
        with httpx.Client(base_url=self.base, timeout=PATIENCE, verify=False) as client:
            while not self._stopped.is_set():
                answer = client.post("/v1/stylize/wave", content=file(photo()))
                self.statuses.append(answer.status_code)
                self.contents.add(answer.content)

    @contextmanager
    def going_on(self, clients: int = 3) -> Iterator[None]:
        """Ask for the length of the block."""
        threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def until_more(self, count: int = 10) -> None:
        """Wait until that many more answers have come."""
        wanted = len(self.statuses) + count
        wait_for(lambda: len(self.statuses), lambda seen: seen >= wanted, PATIENCE)


def options(store: Path, release: str) -> Options:
    """One replica, and two as soon as there is any queued work."""
    settings: dict[str, Any] = {"device": "cpu", "precision": "fp32", "threads": 1, "codec_workers": 1}
    return Options(
        settings={**settings, "stores": [str(store)], "tile_values": TILE_VALUES, "coalesce": False},
        max_replicas=2,
        target_seconds=1e-6,
        upscale_delay_seconds=0,
        downscale_delay_seconds=3600,
        device_resources={"num_cpus": 1, "resources": {"device": 1}},
        ingress_resources={"num_cpus": 0.1, "resources": {"ingress": 1}},
        release=release,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ray") / "models"
    publish(root)
    return root


def started(new_cluster: Callable[..., Any]) -> Any:
    """A cluster of its head alone. Ray gives up after 30 s, which is not enough on a machine that has much to do."""
    head = {"num_cpus": 2, "resources": {"ingress": 1, "device": 1}, "include_dashboard": False}
    for _ in range(3):
        try:
            return new_cluster(initialize_head=True, head_node_args=head)
        except Exception as error:  # noqa: BLE001 # Ray raises no narrower one
            failure = error
    raise failure


@pytest.fixture(scope="module")
def cluster(store: Path) -> Iterator[RayCluster]:
    from ray import serve  # noqa: PLC0415 # reads the environment
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setitem(os.environ, name, value)
        nodes = started(Cluster)
        try:
            other = nodes.add_node(num_cpus=2, resources={"device": 1})
            ray.init(address=nodes.address, log_to_driver=False)
            port = free_port()
            serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})

            def deploy(release: str) -> None:
                serve.run(build(options(store, release)), name="pastiche", route_prefix="/")

            deploy("one")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, verify=False) as client:
                yield RayCluster(client, deploy, lambda: nodes.remove_node(other, allow_graceful=False))
            serve.shutdown()  # type: ignore[no-untyped-call]
        finally:
            ray.shutdown()
            nodes.shutdown()


@contextmanager
def one_replica_stopped() -> Iterator[None]:
    """One replica with a device does nothing for the length of the block, in which Ray may notice and replace it."""
    processes = psutil.Process().children(recursive=True)
    name = "ray::ServeReplica:pastiche:device"
    replica = next(each for each in processes if " ".join(each.cmdline()).startswith(name))
    replica.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            replica.resume()


def test_answers_are_those_of_a_service_alone(cluster: RayCluster, store: Path) -> None:
    with serving(store, tile_values=TILE_VALUES) as alone:
        for path, content in (
            ("wave", file(photo())),
            ("wave?format=jpeg", file(photo(2))),
            ("none", b""),
            ("wave", b"no"),
        ):
            mine, theirs = (c.post(f"/v1/stylize/{path}", content=content) for c in (cluster.client, alone.client))
            assert mine.status_code == theirs.status_code
            assert mine.headers.get("ETag") == theirs.headers.get("ETag")
            assert mine.headers.get_list("X-Request-ID") == [mine.headers["X-Request-ID"]]
            if theirs.is_success:
                assert mine.content == theirs.content
            else:
                assert mine.json() | {"instance": ""} == theirs.json() | {"instance": ""}


def test_jobs_are_refused_by_every_replica(cluster: RayCluster) -> None:
    answer = cluster.client.get("/v1/jobs/one")
    assert (answer.status_code, answer.json()["type"]) == (501, "/problems/jobs-not-shared")


def test_every_accepted_request_is_answered(cluster: RayCluster) -> None:
    load = Load(str(cluster.client.base_url))
    with load.going_on():
        first = wait_for(cluster.devices, lambda names: len(names) == 2, PATIENCE)  # scaled up
        load.until_more()
        answered = cluster.instances("pastiche_http_requests_total")
        assert 0 < sum(answered.values()) <= len(load.statuses) + 20
        cluster.deploy("two")  # a rolling upgrade
        load.until_more()
        second = wait_for(cluster.devices, lambda names: len(names) == 2 and not names & first, PATIENCE)
        load.until_more()
        with one_replica_stopped():
            wait_for(cluster.devices, lambda names: len(names) == 1, PATIENCE)  # the metrics of the other one
        cluster.kill_node()
        load.until_more(20)
        wait_for(cluster.devices, lambda names: names < second, PATIENCE)  # a replica outlives its node for a moment
        load.until_more()
    assert Counter(load.statuses) == {200: len(load.statuses)}
    assert len(load.contents) == 1


@pytest.mark.parametrize(("file", "stores"), [("serve.yaml", ["/srv/pastiche/models"]), ("local.yaml", None)])
def test_shipped_configuration_is_valid(file: str, stores: list[str] | None) -> None:
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 # after it is known that there is Ray

    config = yaml.safe_load((ROOT / "docker" / "ray" / file).read_text())
    [application] = ServeDeploySchema.model_validate(config).applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    chosen = Options.model_validate(application.args)
    assert chosen.settings.get("stores") == stores
    assert build(chosen) is not None
