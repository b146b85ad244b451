"""The parts are small programs here; what they measure on a GPU is tested in their own files."""

import json
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from benchmarks import gpu, overload, serve
from benchmarks.errors import Incomplete
from benchmarks.gpu import (
    OK,
    PARTS,
    TESTS,
    Ended,
    Part,
    benchmark,
    files_of_gpu_tests,
    found_tables,
    read_done,
    run_part,
    run_parts,
    shortened,
)
from benchmarks.report import show
from service.settings import Settings

COUNT = "import sys; open(sys.argv[1], 'a').write('x')"


def counted(name: str, exit_code: int = 0) -> Part:
    """A part that counts its runs in a file."""
    return Part(name, ("-c", f"{COUNT}; sys.exit({exit_code})", f"{{out}}/{name}.runs"), 60)


def chosen(*arguments: str) -> Namespace:
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    gpu.add_options(parser)
    return parser.parse_args(arguments)


def test_parts_that_ended_well_are_not_run_again(tmp_path: Path) -> None:
    parts = [counted("good"), counted("bad", 3)]
    for _ in range(2):
        done = run_parts(parts, tmp_path)
        assert (done["good"].status, done["bad"].status) == (OK, "exit status 3")
    assert [(tmp_path / f"{name}.runs").read_text() for name in ("good", "bad")] == ["x", "xx"]
    assert read_done(tmp_path) == done


@pytest.mark.parametrize(
    "damaged", ["", '{"good": {"status": "ok", "sec', "[]", '{"good": {"status": "ok"}}', '{"good": 1}']
)
def test_parts_of_a_damaged_record_are_run_again(damaged: str, tmp_path: Path) -> None:
    """As one that was being written when the machine was taken away, or its disk was full."""
    (tmp_path / "done.json").write_text(damaged)
    assert run_parts([counted("good")], tmp_path)["good"].status == OK
    assert list(read_done(tmp_path)) == ["good"]


@pytest.mark.parametrize("damaged", ["", '{"tables": {"La', "[]", "{}"])
def test_part_whose_tables_are_damaged_is_run_again(damaged: str, tmp_path: Path) -> None:
    table = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    whole = Part("good", ("-c", table, "{out}/good.json", '{"tables": {"Layers": [{"ms": 1.5}]}}'), 60)
    damaging = replace(whole, arguments=(*whole.arguments[:3], damaged))
    assert run_parts([damaging], tmp_path)["good"].status == "its tables are damaged"
    assert found_tables([damaging], tmp_path) == {}
    assert run_parts([whole], tmp_path)["good"].status == OK
    (tmp_path / "good.json").write_text(damaged)
    assert run_parts([whole], tmp_path)["good"].status == OK
    assert found_tables([whole], tmp_path) == {"good: Layers": [{"ms": 1.5}]}


def part_of_tests(*arguments: str) -> Part:
    """The part with the tests, and these arguments instead of their files."""
    [part] = [part for part in PARTS if part.name == "tests"]
    assert part.arguments[-1] == TESTS
    return replace(part, arguments=(*part.arguments[:-1], *arguments))


def test_tests_are_run_beside_some_whose_packages_are_missing(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "test_extra.py").write_text("import no_such_package")
    (tmp_path / "test_gpu.py").write_text(
        f"import pytest\n@pytest.mark.gpu\ndef test_it(): open({str(ran)!r}, 'w').close()\n"
    )
    ended = run_part(part_of_tests(str(tmp_path)), tmp_path)
    assert (ended.status, ran.exists()) == ("exit status 1", True)


def test_tests_that_take_too_long_together_leave_what_has_failed(tmp_path: Path) -> None:
    (tmp_path / "test_gpu.py").write_text(
        "import time\nimport pytest\npytestmark = pytest.mark.gpu\n"
        "def test_wrong(): raise ValueError('no graph')\n"
        "def test_slow(): time.sleep(2)\n"
        "def test_later(): pass\n"
    )
    ended = run_part(part_of_tests("--session-timeout=1", str(tmp_path)), tmp_path)
    log = (tmp_path / "tests.log").read_text()
    assert ended.status == "exit status 1"
    assert "ValueError: no graph" in log
    assert "test_later" not in log


def test_files_without_tests_for_gpus_are_not_even_imported(tmp_path: Path) -> None:
    sources = {
        "test_marked.py": "@pytest.mark.gpu\ndef test_it() -> None: ...",
        "deep/test_two.py": "from tests.service.engine.gpus import two_gpus",
        "test_other.py": "import no_such_package  # runs without a gpu",
        "helper.py": "pytest.mark.gpu",
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    assert files_of_gpu_tests(tmp_path) == [tmp_path / "deep/test_two.py", tmp_path / "test_marked.py"]
    names = {file.name for file in files_of_gpu_tests(gpu.ROOT / "tests")}
    assert {"test_cuda.py", "test_runner_pool.py", "test_step_graph.py"} <= names


def test_smoke_runs_are_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PARTS", [benchmark("decisions", 120)])
    tables = gpu.run(chosen("--quick", "--out", str(tmp_path)))
    assert [row["status"] for row in tables["Parts"]] == [OK]
    assert "decisions: decisions" in tables
    assert (tmp_path / "quick" / "tables.md").read_text() == f"{show(tables)}\n"
    assert read_done(tmp_path) == {}
    assert found_tables(gpu.PARTS, tmp_path) == {}


def test_parts_that_failed_are_named_and_the_tables_of_the_others_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Part("absent", ("-c", "1/0"), 60, needs="no_such_module")
    monkeypatch.setattr(gpu, "PARTS", [counted("good"), counted("bad", 3), absent])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(Incomplete, match=r"^1 of 3 parts failed: bad \(exit status 3\); their logs: ") as raised:
        gpu.run(chosen("--out", str(tmp_path), "--parts", "good", "bad", "absent"))
    assert [row["part"] for row in raised.value.tables["Parts"]] == ["good", "bad", "absent"]
    assert (tmp_path / "tables.md").read_text() == f"{show(raised.value.tables)}\n"


def test_part_that_takes_too_long_is_stopped_with_what_it_has_started(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    ended = run_part(Part("slow", ("-c", program), 5.0), tmp_path)
    assert ended.status == "stopped after 5 s"
    child = int((tmp_path / "slow.log").read_text())
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(child)
        psutil.wait_procs([found], timeout=30)
        assert not found.is_running() or found.status() == psutil.STATUS_ZOMBIE


def test_part_may_take_what_those_before_it_have_left(tmp_path: Path) -> None:
    slow = Part("slow", ("-c", "import time; time.sleep(1)"), 0.5)
    assert run_parts([slow], tmp_path)["slow"].status == "stopped after 0.5 s"
    quick = counted("quick")
    assert run_parts([quick, slow], tmp_path)["slow"].status == OK
    (tmp_path / "done.json").write_text('{"quick": {"status": "ok", "seconds": 59.9}}')
    assert run_parts([quick, slow], tmp_path)["slow"].status == OK  # of another run, which leaves all its time


def test_part_whose_module_is_missing_is_left_out(tmp_path: Path) -> None:
    assert run_part(Part("odd", ("-c", "1/0"), 60, needs="no_such_module"), tmp_path) == Ended(
        "left out: no_such_module is not installed", 0.0
    )


def test_tables_of_all_parts_are_collected(tmp_path: Path) -> None:
    (tmp_path / "roofline-fp16.json").write_text(json.dumps({"tables": {"Layers": [{"ms": 1.5}]}}))
    assert found_tables(PARTS, tmp_path) == {"roofline-fp16: Layers": [{"ms": 1.5}]}


@pytest.mark.parametrize("part", [part for part in PARTS if "overload" in part.arguments], ids=lambda part: part.name)
def test_overload_is_one_on_a_gpu_and_has_time_to_start_the_service(part: Part) -> None:
    parser = ArgumentParser()
    parser.add_argument("--json")
    overload.add_options(parser)
    options = parser.parse_args(part.arguments[3:])
    assert len(options.modes) * (options.seconds + options.capacity_seconds) <= part.seconds / 2
    assert options.clients > 2 * Settings().max_queue_requests
    assert options.capacity_clients <= Settings().max_queue_requests


def test_styles_of_both_kinds_of_normalisation_are_served() -> None:
    parser = ArgumentParser()
    parser.add_argument("--json")
    serve.add_options(parser)
    served = [parser.parse_args(part.arguments[3:]) for part in PARTS if "serve" in part.arguments]
    assert {options.network for options in served} == {"paper", "shipped"}


def test_all_parts_together_take_nine_minutes_and_their_commands_exist() -> None:
    assert sum(part.seconds for part in PARTS) <= 540
    assert len({part.name for part in PARTS}) == len(PARTS)
    for part in PARTS:
        if part.arguments[1] == "benchmarks":
            assert shortened(part).arguments[-1] == "--quick"
            assert f"{{out}}/{part.name}.json" in part.arguments


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_machine_without_a_gpu_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no CUDA device is visible"):
        gpu.run(chosen("--out", str(tmp_path)))
