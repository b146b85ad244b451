"""When a measurement beside a large picture is valid."""

import pytest

from benchmarks.interference import _check_all_accepted
from benchmarks.load import Answer, Outcome


def background(*answers: Answer) -> Outcome:
    return Outcome(answers, 10.0, cpu=0.0)


def test_a_large_picture_that_was_refused_is_an_error() -> None:
    painted = Answer("ok", 0.0, 5.0, 0, 200)
    _check_all_accepted(background())
    _check_all_accepted(background(painted))
    with pytest.raises(RuntimeError, match=r"answered with 503 \(refused\)"):
        _check_all_accepted(background(painted, Answer("refused", 5.0, 0.1, 0, 503)))
