"""Every parser with its examples and some hundred inputs made of them; `make fuzz-parsers` does it for longer."""

import numpy as np
import pytest

from benchmarks.mutations import mutate
from tests.fuzz.targets import Target, targets

INPUTS = 150
TARGETS = targets()


@pytest.mark.parametrize("name", TARGETS)
def test_parser_reads_its_examples_or_refuses_what_is_made_of_them(name: str) -> None:
    target, rng = TARGETS[name], np.random.default_rng(0)
    for example in target.examples:
        target.run(example)
    for number in range(INPUTS):
        example = target.examples[number % len(target.examples)]
        target.run(mutate(example, target.examples, rng))


def test_defect_is_not_taken_for_a_refusal() -> None:
    def parse(data: bytes) -> None:
        if data == b"broken":
            raise ValueError(data)
        raise KeyError(data)

    target = Target(parse, (ValueError,), [b"broken"])
    target.run(b"broken")
    with pytest.raises(KeyError):
        target.run(b"other")
