from pathlib import Path

from benchmarks.served_styles import Measurement


def test_styles_that_do_not_fit_are_answered_by_loads_from_the_disk(tmp_path: Path) -> None:
    (row,) = Measurement(styles=4, requests=12, clients=2, zipf=1.0).rows((0.25,), tmp_path)
    assert (row["requests"], row["answered"]) == (12, 12)
    assert float(row["loads from the disk"] or 0) > 0
    assert 0 < float(row["MiB there at the end"] or 0) < 2 * float(row["MiB on the device, at most"] or 0)
