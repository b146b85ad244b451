"""docker/grafana: the dashboard is well formed, and a real Prometheus has data for each of its queries."""

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from math import isnan
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.merging import merge_expositions
from service.telemetry.metrics import Metrics
from tests.docker.series import metric_names, series
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, publish, serving, wait_for

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "docker" / "grafana"
PROVISIONING = GRAFANA / "provisioning"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "pastiche.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in GRAPHS for target in panel["targets"]]
COLUMNS = 24
"""The width of Grafana's grid."""


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """The cells of the grid that a panel covers."""
    grid = panel["gridPos"]
    rows, columns = range(grid["y"], grid["y"] + grid["h"]), range(grid["x"], grid["x"] + grid["w"])
    return {(row, column) for row in rows for column in columns}


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert max(Counter(panel["id"] for panel in PANELS).values()) == 1
    assert all(0 <= column < COLUMNS for panel in PANELS for _, column in cells(panel))
    assert not any(cells(one) & cells(other) for one, other in combinations(PANELS, 2))


@pytest.mark.parametrize("panel", GRAPHS, ids=lambda panel: str(panel["title"]))
def test_panel_says_what_it_shows_and_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len(set(references)) > 0


def test_variables_of_the_queries_are_declared() -> None:
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert declared == {"datasource", "instance"}
    assert all("$instance" in query or "ALERTS" in query for query in QUERIES)


def test_metrics_of_the_dashboard_exist() -> None:
    assert {name for query in QUERIES for name in metric_names(query)} <= series()


def test_dashboard_shows_all_but_what_is_known_of_keys() -> None:
    shown = {name for query in QUERIES for name in metric_names(query)}
    families = {family.name for family in Metrics().registry.collect() if family.name.startswith("pastiche_")}
    hidden = {name for name in families if not any(found.startswith(name) for found in shown)}
    assert hidden == {"pastiche_keys", "pastiche_key_loads", "pastiche_key_requests"}


def evaluate(folder: Path, series_: dict[str, str], expected: Sequence[tuple[str, int, float]]) -> None:
    """Have promtool compare what queries are, at a minute each, with such series."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of Prometheus, is not installed")
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series_.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": value}]}
            for query, minute, value in expected
        ],
    }
    (folder / "case.yml").write_text(yaml.safe_dump({"tests": [case]}))
    done = subprocess.run([promtool, "test", "rules", folder / "case.yml"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def first_query(title: str) -> str:
    """The first query of a panel, for all replicas."""
    [query] = [panel["targets"][0]["expr"] for panel in GRAPHS if panel["title"] == title]
    return str(query).replace("$instance", ".*")


def test_replicas_up_are_those_with_a_device(tmp_path: Path) -> None:
    """Two of them behind one ingress, which is all that Prometheus reaches of them; then one, and no more ingress."""
    reached = {
        'up{job="pastiche", instance="ingress"}': "1 1 0",
        'pastiche_build_info{job="pastiche", instance="one", process="0"}': "1 1 stale",
        'pastiche_build_info{job="pastiche", instance="one", process="1"}': "1 1 stale",
        'pastiche_build_info{job="pastiche", instance="two"}': "1 stale",
    }
    query = first_query("Replicas up")
    evaluate(tmp_path, reached, [(query, minute, value) for minute, value in enumerate([2, 1, 0])])


def test_jobs_that_replicas_share_are_counted_once(tmp_path: Path) -> None:
    told = {
        f'pastiche_{name}{{instance="{instance}", process="{process}"}}': "7"
        for name in ('jobs{state="queued"}', "jobs_bytes")
        for instance in ("one", "two")
        for process in (0, 1)
    }
    told = {name.replace("}{", ", "): value for name, value in told.items()}
    queries = [f"max({first_query(title)})" for title in ("Jobs by state", "Disk of the jobs")]
    evaluate(tmp_path, told, [(query, 0, 7) for query in queries])


def test_queries_are_none_the_worse_for_several_processes(tmp_path: Path) -> None:
    """Those of the dashboard and of the document, with what a used service of two processes tells."""
    publish(tmp_path / "models")
    with serving(tmp_path / "models") as live:
        use(live)
        text = live.client.get("/metrics").content
    merged = merge_expositions({"0": text, "1": text}, "process").decode()
    samples = [sample for family in text_string_to_metric_families(merged) for sample in family.samples]
    told = {f'{each.name}{{instance="a", {_labels(each.labels)}}}': str(each.value) for each in samples}
    asked = [query.replace("$instance", ".*").replace("$__rate_interval", "5m") for query in QUERIES]
    evaluate(tmp_path, told, [(f"(count({query}) or vector(0)) >= bool 0", 0, 1) for query in [*asked, *documented()]])


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f'{name}="{value}"' for name, value in labels.items())


def documented() -> list[str]:
    """The queries of docs/metrics.md: the last cell of each line of its tables."""
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    return [line.split("| `")[-1].removesuffix("` |") for line in lines if line.startswith("| `pastiche_")]


def test_provisioning_leads_to_the_dashboard_and_to_prometheus() -> None:
    compose = load(ROOT / "docker-compose.yml")["services"]
    grafana = compose["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    [source] = load(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    name, port = source["url"].removeprefix("http://").split(":")
    assert compose[name]["ports"][0].endswith(f":{port}")
    [provider] = load(PROVISIONING / "dashboards" / "pastiche.yml")["providers"]
    assert mounts["./docker/grafana/dashboards"] == provider["options"]["path"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (GRAFANA / "dashboards" / home.name).exists()
    scrape = load(ROOT / "docker" / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape


@contextmanager
def prometheus(live: Live, folder: Path) -> Iterator[httpx.Client]:
    """A real Prometheus with our configuration, but for the target and its pace; yields a client of it."""
    program = shutil.which("prometheus")
    assert program is not None
    shutil.copytree(ROOT / "docker" / "prometheus", folder)
    config = load(folder / "prometheus.yml")
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
    [job] = config["scrape_configs"]
    job |= {"static_configs": [{"targets": [live.url.removeprefix("http://")]}], "dns_sd_configs": []}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    options += [
        flag for flag in load(ROOT / "docker-compose.yml")["services"]["prometheus"]["command"] if "feature" in flag
    ]
    command = [program, *options, "--web.listen-address=127.0.0.1:0", "--log.level=info"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as handle:
        try:
            line = wait_for(lambda: listening(folder / "log"), bool)
            with httpx.Client(base_url=f"http://{line}", timeout=PATIENCE) as client:
                yield client
        finally:
            handle.terminate()
            handle.wait(PATIENCE)


def listening(log: Path) -> str:
    """The address that Prometheus says it listens on; empty before it does."""
    found = re.search(r'msg="Listening on" address=(\S+)', log.read_text())
    return found[1] if found else ""


def has_data(client: httpx.Client, query: str) -> bool:
    """Whether a query of the dashboard has values, all of them numbers. Raises where Prometheus does not accept it."""
    asked = query.replace("$instance", ".*").replace("$__rate_interval", "5s")
    answer = client.get("/api/v1/query", params={"query": asked}).json()
    assert answer["status"] == "success", f"{query}: {answer.get('error')}"
    values = [float(sample["value"][1]) for sample in answer["data"]["result"]]
    return bool(values) and not any(map(isnan, values))


def use(live: Live) -> None:
    """A request that succeeds, one that fails, and a job."""
    live.client.post("/v1/stylize/wave", content=file(photo()))
    live.client.post("/v1/stylize/none", content=file(photo()))
    live.client.post("/v1/stylize/wave", content=file(photo(2)), headers={"Prefer": "respond-async"})


def request_ids(client: httpx.Client) -> set[str]:
    """The ids of requests that Prometheus has beside durations, where the dashboard asks for them."""
    [query] = [target["expr"] for panel in GRAPHS for target in panel["targets"] if target.get("exemplar")]
    now = time.time()
    asked = {"query": metric_names(query).pop(), "start": str(now - 600), "end": str(now + 600)}
    found = client.get("/api/v1/query_exemplars", params=asked).json()["data"]
    return {exemplar["labels"]["request_id"] for series_ in found for exemplar in series_["exemplars"]}


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus")
def test_every_query_has_data_while_the_service_is_used(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    with serving(tmp_path / "models") as live, prometheus(live, tmp_path / "prometheus") as client:

        def without_data() -> list[str]:
            use(live)
            return [query for query in QUERIES if not has_data(client, query)]

        wait_for(without_data, lambda missing: not missing)
        assert live.client.get("/v1/models", headers={"X-Request-ID": "mine"}).status_code == 200
        wait_for(lambda: request_ids(client), lambda ids: "mine" in ids)
        alerting = client.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in alerting} <= {"ok", "unknown"}
