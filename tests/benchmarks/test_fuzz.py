import sys
from argparse import Namespace
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks import fuzz, networks, servers
from benchmarks.errors import Incomplete
from benchmarks.fuzz import Findings, _files, _summarize
from tests.benchmarks.test_servers import PROGRAM, SPEC


def test_bombs_are_among_the_files() -> None:
    files = list(_files(510, seed=0))
    assert len(files) == 510
    assert max(map(len, files[:500])) < max(map(len, files[500:]))


def test_failures_are_counted_and_printed() -> None:
    findings = [
        Findings(Counter({200: 2, 400: 1}), [0.1, 0.2, 0.3], []),
        Findings(Counter({500: 1}), [0.4], ["file 3: 500 after 0.4 s: the service failed"]),
    ]
    row = _summarize("/v1/upscale/2", findings, 100.0, 120.0)
    assert row["answers"] == "2 × 200, 1 × 400, 1 × 500"
    assert row["500, late or none"] == 1
    assert row["longest s"] == 0.4


@pytest.mark.parametrize(("status", "failed"), [(500, 6), (400, 0)])
def test_service_that_fails_fails_the_run(status: int, failed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = PROGRAM.replace("child = ", "# ").replace("self.answer(400 if", f"return self.answer({status}, b'') # ")
    spec = replace(SPEC, command=(sys.executable, "-c", answers, "{port}"))
    monkeypatch.setattr(servers, "ours", lambda _: spec)
    monkeypatch.setattr(networks, "publish", lambda root: Namespace(root=root))
    monkeypatch.setattr(fuzz, "_files", lambda count, seed: [b"file"] * count)  # noqa: ARG005
    chosen = Namespace(quick=False, files=3, clients=2, seed=0)
    if failed:
        with pytest.raises(Incomplete, match=f"{failed} files were answered with 500, or not at all") as raised:
            fuzz.run(chosen)
        [rows] = raised.value.tables.values()
        assert [row["answers"] for row in rows] == ["3 × 500", "3 × 500"]
    else:
        [rows] = fuzz.run(chosen).values()
        assert [row["answers"] for row in rows] == ["3 × 400", "3 × 400"]
