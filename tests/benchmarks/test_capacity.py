"""The capacity plan: its arithmetic, and a simulation that gives the same figures each time."""

from argparse import ArgumentParser
from dataclasses import replace

import pytest

from benchmarks import capacity
from benchmarks.capacity import DEFAULTS, Assumptions, first_bottleneck, needs, simulate

GIVEN = Assumptions(**DEFAULTS)
ROUND = replace(
    GIVEN,
    device_seconds=0.01,
    codec_seconds=0.02,
    ingress_seconds=0.001,
    bytes_in=1e6,
    bytes_out=5e5,
    gigabits=10.0,
    store_bytes=1e7,
    store_gigabits=1.0,
    jobs_share=0.5,
    job_operations=10.0,
    job_store_rate=10_000.0,
    utilisation=0.5,
)


def test_needs_of_a_hundred_gpus() -> None:
    """5,000 images/s, of a megabyte each: 40 Gbit/s."""
    found = needs(100, ROUND)
    assert found == {
        "GPUs": 100,
        "images/s": pytest.approx(5000),
        "codec cores per GPU": pytest.approx(1),
        "ingress Gbit/s": pytest.approx(40),
        "ingress nodes by network": 8,
        "ingress cores": 10,
        "s to publish a network": pytest.approx(8),
        "job store use": pytest.approx(2.5),
    }


def test_bottlenecks_are_where_the_needs_say() -> None:
    assert first_bottleneck(ROUND) == {"one ingress node's network": 12, "one ingress core": 10, "one job store": 40}
    assert first_bottleneck(replace(ROUND, jobs_share=0.0), most=7)["one job store"] == 7


def test_simulation_is_the_same_each_time() -> None:
    assert simulate(2, 0.7, 100, GIVEN) == simulate(2, 0.7, 100, GIVEN)
    assert simulate(2, 0.7, 100, GIVEN) != simulate(2, 0.7, 100, GIVEN, seed=1)


def test_lone_request_takes_as_long_as_its_batch() -> None:
    """A quarter of a full batch's time, and three quarters of its own."""
    [seconds] = simulate(1, 0.1, 1, replace(GIVEN, fixed_share=0.25), batch=8).seconds
    assert seconds == pytest.approx(GIVEN.device_seconds * 2.75, rel=1e-6)


def test_every_request_is_answered_or_refused() -> None:
    outcome = simulate(1, 20.0, 300, GIVEN)
    assert outcome.refused > 0
    assert len(outcome.seconds) + outcome.refused == 300
    assert outcome.tiles == len(outcome.seconds)


def test_tables_have_a_row_for_each_fleet() -> None:
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    capacity.add_options(parser)
    tables = capacity.run(parser.parse_args(["--quick", "--gpus", "1", "1000"]))
    assert [row["GPUs"] for row in tables["needs"]] == [1, 1000]
    assert len(tables["simulation"]) == 8
