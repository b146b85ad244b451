"""What the documents say of the repository: links, files, sizes, settings, metrics, endpoints, options, problems."""

import json
import re
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

import client.__main__
from model_store import SHIPPED_STORE, ModelStore
from service.settings import MEGA, Settings
from service.telemetry.metrics import Metrics
from tests.docker.series import metric_names, series
from tests.docs.documents import (
    API,
    ARCHITECTURE,
    CLI,
    ERRORS,
    METRICS,
    OPERATIONS,
    README,
    ROOT,
    TRAINING,
    anchors,
    codes,
    documents,
    first_codes,
    links,
    prose,
    rows,
    section,
)
from tests.service.live import Live
from trainer.command_line import parse

README_BYTES = 8192
MODELS = ROOT / "docs" / "models.md"
SHOWING_VERSIONS = ("compatible-apis", "examples", "python", "upscaling")
"""Documents that show versions of the shipped networks as answers have them, beside README.md and api.md."""
PACKAGES = ("client", "model_store", "pastiche", "service", "trainer")
TREE = re.compile(rf"(?:{'|'.join(PACKAGES)}|benchmarks|tests|docs|docker|\.ci)/[\w./-]*")
UNITS = {"": 1, "s": 1, "MiB": 2**20, "GiB": 2**30, "MP": MEGA, "million": MEGA}
DOCUMENTS = pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))


def test_readme_is_short() -> None:
    assert len(README.read_bytes()) <= README_BYTES


@DOCUMENTS
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@DOCUMENTS
def test_paths_exist(document: Path) -> None:
    named = [code for code in codes(prose(document)) if TREE.fullmatch(code)]
    assert [code for code in named if not (ROOT / code).exists()] == []


def test_readme_links_to_every_document() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(README)}
    assert {path for path in documents() if path != README} <= linked


def test_shipped_networks_are_counted_and_listed() -> None:
    names = set(ModelStore(SHIPPED_STORE).names())
    assert f"{len(names)} trained networks" in README.read_text()
    assert f"{len(names)} networks come with Pastiche" in MODELS.read_text()
    assert names <= set(first_codes(section(README, "Models")))
    assert names <= set(codes(MODELS.read_text()))


def test_versions_of_shipped_networks_are_those_that_are_served() -> None:
    shipped = ModelStore(SHIPPED_STORE)
    written = re.compile(rf"\b({'|'.join(shipped.names())})@(\d+)")
    for document in (README, API, *(ROOT / "docs" / f"{name}.md" for name in SHOWING_VERSIONS)):
        told = {f"{name}@{version}" for name, version in written.findall(document.read_text())}
        assert told == {f"{name}@{shipped.current(name)}" for name in {label.partition("@")[0] for label in told}}


def test_architecture_has_every_file() -> None:
    room, listed = "", []
    for line in section(ARCHITECTURE, "Files").splitlines():
        if heading := re.fullmatch(r"### `(.+)`", line):
            room = heading[1]
        listed += [f"{room}{name}" for name in first_codes(line)]
    kinds = (".py", ".js", ".html", ".css")
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in kinds]
    sources = [path.relative_to(ROOT) for path in files]
    assert sorted(listed) == sorted(str(path) for path in sources if path.name != "__init__.py")


def test_every_setting_is_documented_with_its_default() -> None:
    table = {codes(row[0])[0]: row[1] for row in rows(section(OPERATIONS, "Settings")) if codes(row[0])}
    assert table.keys() == Settings.model_fields.keys()
    defaults = {name: info.default for name, info in Settings.model_fields.items() if info.default_factory is None}
    for name, default in defaults.items():
        if default is not None and name != "stores":
            assert _value(table[name]) == _value(str(default)), f"the default of {name} is {default}"


def _value(text: str) -> float | str:
    """`64 MiB` as a number, `auto` as it is."""
    number = re.fullmatch(r"([\d.]+) ?([A-Za-z]*)", text)
    return float(number[1]) * UNITS[number[2]] if number and number[1].count(".") < 2 else text.lower()


def test_every_metric_is_documented(live: Live) -> None:
    types = re.findall(r"^# TYPE (pastiche_\w+) (\w+)$", live.client.get("/metrics").text, re.MULTILINE)
    scraped = {name: kind for name, kind in types if not name.endswith("_created")}
    assert {name: kind for name, kind, *_ in metric_rows()} == scraped


def test_labels_of_every_metric_are_documented() -> None:
    documented = {name: codes(labels) for name, _, labels, *_ in metric_rows()}
    for metric in vars(Metrics()).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            family = next(iter(metric.describe()))
            labels = documented[family.name + ("_total" if family.type == "counter" else "")]
            with nullcontext() if labels else pytest.raises(ValueError, match="No label names"):
                metric.labels(**dict.fromkeys(labels, "any"))


def test_every_metric_has_a_query_that_prometheus_takes(tmp_path: Path) -> None:
    queries = {name: codes(query)[0] for name, *_, query in metric_rows()}
    assert [name for name, query in queries.items() if name not in query] == []
    assert {name for query in queries.values() for name in metric_names(query)} <= series()
    rules = [{"record": "checked", "labels": {"of": name}, "expr": query} for name, query in queries.items()]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "documented", "rules": rules}]}))
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of Prometheus, is not installed")
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def metric_rows() -> list[list[str]]:
    """Name, type, labels, meaning and query of each metric."""
    return [[codes(row[0])[0], *row[1:]] for row in rows(prose(METRICS)) if row[0].startswith("`pastiche_")]


def test_every_endpoint_is_documented(live: Live) -> None:
    paths = live.client.get("/openapi.json").json()["paths"].keys()
    table = " ".join(row[0] for row in rows(section(API, "Endpoints")))
    documented = {path for code in codes(table) for path in re.findall(r"/[\w/{}.-]*", code)}
    assert {path for path in paths if path not in documented} == set()
    assert documented - paths == {"/", "/docs", "/openapi.json"}


@pytest.mark.parametrize(("path", "heading"), [("/v1/stylize/{style}", "Stylize"), ("/v1/upscale/{scale}", "Upscale")])
def test_every_option_of_the_api_is_documented(path: str, heading: str, live: Live) -> None:
    parameters = live.client.get("/openapi.json").json()["paths"][path]["post"]["parameters"]
    known = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    documented = {*first_codes(section(API, heading)), *first_codes(section(API, "The format of the answer"))}
    assert documented == known - {"priority"}
    assert "?priority=bulk" in codes(section(API, "Deadlines and priority"))


def test_every_member_of_an_estimate_is_documented(live: Live) -> None:
    schemas = live.client.get("/openapi.json").json()["components"]["schemas"]
    known = {*schemas["StylizeEstimate"]["properties"], *schemas["UpscaleEstimate"]["properties"]}
    assert known - {"style", "scale"} == set(first_codes(section(API, "Estimates")))


def test_every_problem_is_documented_as_the_service_explains_it(live: Live) -> None:
    known = {
        (kind["status"], kind["type"].removeprefix("/problems/"), " ".join(kind["meaning"].split()))
        for kind in live.client.get("/problems").json()
    }
    told = {
        (int(status), codes(kind)[0], meaning): remedy
        for status in re.findall(r"^## (\d+)$", prose(ERRORS), re.MULTILINE)
        for kind, meaning, remedy in rows(section(ERRORS, status))[1:]
    }
    assert told.keys() == known
    assert all(told.values())


def test_every_option_of_the_client_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        client.__main__.main(["stylize", "--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    documented = set(first_codes(section(CLI, "pastiche"))) - {"0", "-o", "--output"}
    assert documented == set(re.findall(r"--[a-z-]+", usage)) - {"--help", "--output"}


def test_options_of_training_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["style", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    documented = {code for code in first_codes(section(TRAINING, "A style")) if code.startswith("--")}
    assert documented
    assert documented <= known


def test_every_command_of_training_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    commands = re.search(r"\{([\w,-]+)\}", capsys.readouterr().out)
    assert commands
    assert set(first_codes(section(CLI, "pastiche-train"))) == set(commands[1].split(","))
