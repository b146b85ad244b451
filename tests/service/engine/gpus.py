"""Tests that need several GPUs."""

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

Test = TypeVar("Test", bound=Callable[..., None])


def two_gpus(test: Test) -> Test:
    """A test that needs two GPUs of one model."""
    needed: Callable[[Test], Test] = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
    marked: Test = pytest.mark.gpu(needed(test))
    return marked
