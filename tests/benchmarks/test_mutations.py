import io

import numpy as np
from PIL import Image

from benchmarks.mutations import mutate, sources
from service.imaging.codecs import ImageFormat, decode, inspect


def test_sources_are_valid_and_of_every_format_but_heic() -> None:
    kinds = set()
    for source in sources():
        kinds.add(inspect(source).format)
        assert next(decode(source).pictures).pixels.size
    assert kinds == set(ImageFormat) - {ImageFormat.HEIC}  # which nothing here writes


def test_same_seed_makes_the_same_files() -> None:
    valid = sources()
    one, other = ([mutate(file, valid, np.random.default_rng(7)) for file in valid] for _ in range(2))
    assert one == other
    assert one != valid


def test_most_files_are_changed_and_many_are_broken() -> None:
    valid, rng = sources(), np.random.default_rng(1)
    broken = 0
    for source in valid * 3:
        changed = mutate(source, valid, rng)
        try:
            Image.open(io.BytesIO(changed)).load()
        except Exception:  # noqa: BLE001 # Pillow raises anything
            broken += 1
    assert broken > len(valid)
