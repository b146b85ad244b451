"""What the tables of whole services are computed from."""

from benchmarks import photos
from benchmarks.load import Answer, Outcome
from benchmarks.serve import Photos, _rows

SENT = Photos([photos.jpeg(photos.photo(100, 100)), photos.jpeg(photos.photo(200, 100))], whole_turns=True)


def outcome(count: int, seconds: float, others: float = 0.0) -> Outcome:
    """So many pictures in ten seconds, and one failure."""
    answers = [Answer("ok", 0.0, seconds, number % 2, 200) for number in range(count)]
    return Outcome((*answers, Answer("failed", 0.0, 1.0, 0, 500)), 10.0, cpu=0.0, others=others)


def test_mixed_photos_are_sent_in_whole_turns() -> None:
    assert [SENT.count(clients) for clients in (1, 31, 32, 64)] == [2, 2, 4, 6]
    assert Photos(SENT.files, whole_turns=False).count(1) is None


def test_megapixels_are_of_painted_photos() -> None:
    assert SENT.megapixels(outcome(3, 1.0)) == 0.04


def test_rows_compare_with_the_floor_and_with_each_other() -> None:
    floors = {"floor 1×2": [outcome(20, 0.5)], "floor 2×1": [outcome(40, 0.8)]}
    rows = list(_rows(SENT, floors | {"pastiche": [outcome(30, 1.0, 0.25)], "naive": [outcome(10, 2.0)]}))
    assert [row["server"] for row in rows] == ["floor 2×1", "pastiche", "floor 1×2", "naive"]
    ours = rows[1]
    assert (ours["requests/s"], ours["Mpx/s"], ours["errors"]) == (3.0, 0.045, 1)
    assert (ours["× floor"], ours["× naive"], ours["× pastiche"]) == (0.75, 3.0, 1.0)
    assert (ours["p50 ms"], ours["p50 × floor"], ours["others' CPUs"]) == (1000, 2.0, 0.25)
