import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from trainer.errors import DataError
from trainer.prefetch import MOST_WORKERS, Prefetch, workers_for


def test_threads_by_default_are_half_of_the_processors() -> None:
    assert [workers_for(processors) for processors in (1, 2, 3, 4, 16, 200)] == [1, 1, 1, 2, 8, MOST_WORKERS]
    assert Prefetch.of(3, torch.device("cpu")) == Prefetch(3, pinned=False)
    assert Prefetch.of(0, torch.device("cuda")).pinned


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_in_order_and_as_many_as_there_are_threads_ahead(workers: int) -> None:
    begun: set[int] = set()
    release = threading.Event()

    def prepare(step: int) -> Tensor:
        begun.add(step)
        if step > 10 + workers:
            release.wait(10)
        return torch.tensor(step)

    batches = Prefetch(workers).batches(prepare, range(10, 20))
    assert next(batches).item() == 10
    assert max(begun) <= 10 + workers
    release.set()
    assert [batch.item() for batch in batches] == [*range(11, 20)]
    assert begun == {*range(10, 20)}


def test_several_batches_are_prepared_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def prepare(step: int) -> Tensor:
        both.wait()  # one thread would wait for ever
        return torch.tensor(step)

    assert [batch.item() for batch in Prefetch(2).batches(prepare, range(4))] == [0, 1, 2, 3]


def test_an_error_is_raised_in_place_of_its_batch() -> None:
    def prepare(step: int) -> Tensor:
        if step == 2:
            raise DataError("no images")
        return torch.tensor(step)

    batches: Iterator[Tensor] = Prefetch(2).batches(prepare, range(9))
    assert [next(batches).item() for _ in range(2)] == [0, 1]
    with pytest.raises(DataError, match="no images"):
        next(batches)


def test_the_threads_end_with_whoever_uses_them() -> None:
    batches: Iterator[Tensor] = Prefetch(2).batches(torch.tensor, range(1000))
    next(batches)
    assert photograph_threads()
    batches.close()  # type: ignore[attr-defined] # a generator
    assert not photograph_threads()


def photograph_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("photographs")]
