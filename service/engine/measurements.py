"""What is measured of networks when they are loaded, and decides on last bits: once for all devices and processes.

Each on its own could choose other forms of layers, precisions and sizes of batches, and the bytes of an answer would
depend on where it was computed. Processes that serve one port share a file; only one of them measures at a time, as
others that use the device would disturb it.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from model_store import PRECISIONS, LayerForm, Network
from model_store.durable import replace_file
from service.engine.calibration import Calibration, SampleType

Measured = TypeVar("Measured")


class Recorded(BaseModel):
    """Of networks of one architecture, which share them; by what they were measured of."""

    model_config = ConfigDict(extra="forbid")

    forms: dict[str, dict[int, LayerForm]] = {}
    """Of thin layers that are not computed as usual, by position."""
    precisions: dict[str, str] = {}
    """The names of the fastest ones that are exact enough, of several."""
    calibrations: dict[str, Calibration] = {}


class Measurements:
    """What is known of networks. What is not yet is measured when it is asked for."""

    def __init__(self, file: Path | None = None) -> None:
        """`file`: where other processes find it, and this one what they have measured."""
        self._file = file
        self._known = Recorded()
        self._lock = RLock()
        self._has_turn = False

    def forms(
        self, network: Network, precision: torch.dtype, measure: Callable[[], dict[int, LayerForm]]
    ) -> dict[int, LayerForm]:
        """The forms of the thin layers of a network in a precision."""
        return self._of(lambda known: known.forms, f"{_architecture(network)} {precision}", measure)

    def precision(self, network: Network, measure: Callable[[], torch.dtype]) -> torch.dtype:
        """The precision of a network, of several."""

        def name() -> str:
            chosen = measure()
            return next(name for name, precision in PRECISIONS.items() if precision == chosen)

        return PRECISIONS[self._of(lambda known: known.precisions, _architecture(network), name)]

    def calibration(
        self, network: Network, sample: SampleType, engine: str, measure: Callable[[], Calibration]
    ) -> Calibration:
        """The sizes of batches and the cost of a network in its precision, for images of a type, by an engine."""
        precision = next(network.parameters()).dtype
        key = f"{_architecture(network)} {precision} {np.dtype(sample)} {engine}"
        return self._of(lambda known: known.calibrations, key, measure)

    def _of(
        self, table: Callable[[Recorded], dict[str, Measured]], key: str, measure: Callable[[], Measured]
    ) -> Measured:
        if key not in table(self._known):
            with self._turn():
                if key not in table(self._known):
                    measured = measure()  # which may ask for others
                    table(self._known)[key] = measured
        return table(self._known)[key]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """For the length of the block nobody else measures; what other processes have measured before is known."""
        with self._lock:
            if self._file is None or self._has_turn:
                yield
                return
            with self._file.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, also where this process is killed
                self._has_turn = True
                try:
                    if self._file.exists():
                        self._known = Recorded.model_validate_json(self._file.read_bytes())
                    yield
                    replace_file(self._file, self._known.model_dump_json().encode())
                finally:
                    self._has_turn = False


def _architecture(network: Network) -> str:
    return network.spec.model_dump_json()
