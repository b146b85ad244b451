"""Engines in a process of their own, on the smallest case."""

import subprocess
import sys

import pytest

from benchmarks.engines import BASE, CASES, ENGINES, Case, Engines, engines, missing

CASE = "x4-64"


def test_case_is_a_network_and_an_image_of_its_side() -> None:
    case = Case.of(CASE)
    assert CASE in CASES
    assert case.image.shape == (1, 3, 64, 64)
    assert case.network.scale == 4
    assert 0 < case.flops(fast=True) < case.flops()


def test_engines_run_in_turn_and_tell_how_far_they_are_from_the_base() -> None:
    names = [BASE, "for_inference fp32"]
    with engines(CASE, names, allocator=False) as found:
        assert all(seconds > 0 for name in names for seconds in found.run_turn(name))
        assert found.differences[BASE] == 0
        assert 0 <= found.differences["for_inference fp32"] < 0.01


def test_a_process_that_fails_is_an_error() -> None:
    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    with (
        subprocess.Popen(failing, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        pytest.raises(RuntimeError, match="the engines ended with status 3"),
    ):
        Engines(process)


def test_only_openvino_may_be_missing() -> None:
    absent = [name for name in ENGINES if missing(name)]
    assert absent in ([], [name for name in ENGINES if name.startswith("OpenVINO")])
