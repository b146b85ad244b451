import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from client.errors import PasticheError, Problem, ProblemDetails, UnknownModel
from client.problems import build_problem

MISSING = {"type": "https://pastiche/problems/unknown-model", "detail": "no model is named x", "available": ["wave"]}


def pickled(error: PasticheError) -> Any:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("handed_on", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", [Problem, *Problem.subclasses()])
def test_problem_goes_from_process_to_process(kind: type[Problem], handed_on: Callable[[Problem], Any]) -> None:
    problem = kind(ProblemDetails(429, detail="later", members={"limit": 3}), 2.5)
    problem.add_note("of photo.jpg")
    arrived = handed_on(problem)
    assert type(arrived) is kind
    assert str(arrived) == "later"
    assert arrived.details == problem.details
    assert (arrived.retry_after, arrived.__notes__) == (2.5, ["of photo.jpg"])


def test_what_a_problem_tells_goes_with_it() -> None:
    arrived = pickled(build_problem(MISSING, 404))
    assert isinstance(arrived, UnknownModel)
    assert arrived.available == ["wave"]
