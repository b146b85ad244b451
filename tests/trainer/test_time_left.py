from itertools import count

from trainer.time_left import WINDOW, Progress


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_known_before_the_first_measurement() -> None:
    progress = Progress(Clock())
    progress.begin(0, 10)
    progress.advance(1)
    assert (progress.step, progress.steps) == (1, 10)
    assert progress.seconds_per_step is progress.seconds_left is None


def test_time_left_is_that_of_the_median_step() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin(100, 200)
    for step, seconds in zip(count(105, 5), (10, 90, 11, 9, 12), strict=False):  # one with a preview
        progress.advance(step)
        clock.now += seconds
        progress.measure()
    assert progress.seconds_per_step == 2.2
    assert progress.seconds_left == 2.2 * 75


def test_old_measurements_are_forgotten_and_a_step_is_not_measured_twice() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin(0, 1000)
    for step in range(1, 3 * WINDOW):
        clock.now += 50 if step < WINDOW else 1
        progress.advance(step)
        progress.measure()
        progress.measure()
    assert progress.seconds_per_step == 1


def test_going_on_measures_from_there() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin(0, 10)
    clock.now += 1000
    progress.begin(4, 10)
    clock.now += 2
    progress.advance(5)
    progress.measure()
    assert progress.seconds_per_step == 2
