"""What the row of a hostile file is computed from; its files are tested in test_hostile_files.py."""

import math
import sys
from dataclasses import replace

import pytest

from benchmarks import servers
from benchmarks.hostile import Probe, _livez, _probing, _thumbnails
from benchmarks.load import Answer, Kind
from benchmarks.servers import Server
from tests.benchmarks.test_servers import PROGRAM, SPEC, wait_for


def answers(*kinds: Kind, seconds: float = 1.0) -> list[Answer]:
    return [Answer(kind, 0.0, seconds, 0, 0) for kind in kinds]


def test_thumbnails_without_a_picture_are_errors() -> None:
    found = _thumbnails(answers("ok", "ok"), answers("ok", "refused", "failed", "timeout", seconds=2.0))
    assert (found["errors without"], found["errors"], found["p50 × without"]) == (0, 3, 2.0)
    assert math.isnan(float(_thumbnails(answers("ok"), answers("refused"))["p99 × without"] or 0))


def test_probes_that_fail_are_counted_with_their_time() -> None:
    found = _livez([Probe(0.01, True), Probe(30.0, False)])
    assert (found["/livez longest ms"], found["/livez failed"]) == (30_000, 1)
    assert math.isnan(float(_livez([])["/livez longest ms"] or 0))


@pytest.mark.parametrize("dead", [False, True], ids=["404", "dead"])
def test_server_that_is_not_live_is_probed_on(dead: bool) -> None:
    program = PROGRAM.replace("child = ", "# ").replace(
        "self.path])", 'self.path]) if self.path != "/livez" else self.answer(404, b"")'
    )
    probes: list[Probe] = []

    def probe(server: Server) -> None:
        with _probing(server, probes):
            wait_for(lambda: len(probes) > 2)

    with servers.running(replace(SPEC, command=(sys.executable, "-c", program, "{port}"))) as server:
        if not dead:
            probe(server)
    if dead:
        probe(server)
    assert not any(probe.live for probe in probes)
