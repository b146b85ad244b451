from collections import Counter

from benchmarks.fuzz import Findings, _files, _summarize


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
