"""A service on this machine's processor with more styles than it may hold: its loads are real, from a real store.

The styles have a quarter of the paper's width, so that a thousand of them are published and verified in minutes.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import photos
from benchmarks.load import Plan, Request, run_plan
from benchmarks.networks import STYLE_NAME, calibrated
from benchmarks.report import Row
from benchmarks.servers import LONG_TIMEOUT, ServerSpec, ours, running
from benchmarks.stats import in_milliseconds
from model_store import Draft, ModelStore

ARCHITECTURE = "c9s1-8,d16,d32,R32*5,u16,u8,c9s1-3"
SIDE = 64
"""Of the photograph that is painted: its work is little beside a load."""

START_SECONDS = 3600.0
LONG_AGO = 86_400.0


@dataclass(frozen=True)
class Measurement:
    """How many styles there are, and how they are asked for."""

    styles: int
    requests: int
    clients: int
    zipf: float

    def rows(self, shares: tuple[float, ...], folder: Path) -> list[Row]:
        """A row for each share of the styles that the device may hold. Files are in `folder`."""
        store = self._publish(folder / "store")
        (folder / "photo").write_bytes(photos.jpeg(photos.photo(SIDE, SIDE)))
        return [self._row(share, store, folder) for share in shares]

    def _publish(self, root: Path) -> ModelStore:
        store = ModelStore(root)
        for number in range(self.styles):
            store.publish(calibrated(ARCHITECTURE, seed=number), Draft(name=f"{STYLE_NAME}-{number}", task="style"))
        return store

    def _row(self, share: float, store: ModelStore, folder: Path) -> Row:
        weights = sum(tensor.nbytes for tensor in store.load(f"{STYLE_NAME}-0").network.state_dict().values())
        limit = int(share * self.styles * weights)
        with running(self._spec(store.root, limit), START_SECONDS) as server:
            before = server.metric("pastiche_weight_loads_total", 'source="disk"') or 0.0
            outcome = run_plan(Plan(server.port, self._asked(folder / "photo"), self.clients, LONG_AGO, self.requests))
            loads = (server.metric("pastiche_weight_loads_total", 'source="disk"') or 0.0) - before
            held = server.metric("pastiche_resident_bytes", 'place="device"') or 0.0
        return {
            "styles": self.styles,
            "MiB on the device, at most": limit / 2**20,
            "MiB there at the end": held / 2**20,
            "requests": len(outcome.answers),
            "answered": len(outcome.of("ok")),
            "loads from the disk": loads,
            "requests/s": outcome.rate,
            **in_milliseconds(outcome.seconds()),
        }

    def _spec(self, root: Path, limit: int) -> ServerSpec:
        spec = ours(root)
        own = {"PASTICHE_RESIDENT_BYTES": str(limit), "PASTICHE_PRECISION": "fp32", "PASTICHE_DEVICE": "cpu"}
        return replace(spec, settings={**spec.settings, **own})

    def _asked(self, photo: Path) -> tuple[Request, ...]:
        """Requests for styles by Zipf's law."""
        shares = [1 / (rank + 1) ** self.zipf for rank in range(self.styles)]
        numbers = random.Random(0).choices(range(self.styles), shares, k=self.requests)
        headers = {"Content-Type": "image/jpeg", **LONG_TIMEOUT}
        return tuple(Request(f"/v1/stylize/{STYLE_NAME}-{number}", str(photo), headers) for number in numbers)
