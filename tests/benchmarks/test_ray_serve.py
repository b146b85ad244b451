"""A short run on a real cluster."""

from argparse import ArgumentParser

import pytest

from benchmarks import ray_serve

pytest.importorskip("ray", reason="needs the extra `ray`")

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


def test_row_for_the_ingress_and_for_each_number_of_replicas() -> None:
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    ray_serve.add_options(parser)
    ingress, scaling = ray_serve.run(parser.parse_args(["--quick", "--device-ms", "20"])).items()
    assert [row["image"] for row in ingress[1]] == ["64 × 64"]
    assert "a delay of 20.0 ms instead of a network" in scaling[0]
    assert [(row["replicas"], row["not answered"]) for row in scaling[1]] == [(1, 0), (2, 0)]
    assert scaling[1][0]["times one replica"] == 1
    assert all(float(row["ms of a processor in the ingress"] or 0) > 0 for row in [*ingress[1], *scaling[1]])
