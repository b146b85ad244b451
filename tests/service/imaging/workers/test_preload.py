import gc

from service.imaging.workers.preload import preload


def test_codecs_are_loaded_and_left_alone_by_collections() -> None:
    before = gc.get_freeze_count()
    preload()
    assert gc.get_freeze_count() > before
