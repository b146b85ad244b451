"""The last state of a run, saved where the next step is impossible, before an error says why."""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from model_store.error_messages import in_words
from trainer.errors import DataError, OutOfMemory, RunError, TrainerError, lacks_memory
from trainer.learner import Learner
from trainer.run_folder import GOING_ON, Run, State

SAID = 240
"""Characters of an error, at most, that are told."""


def learn_or_save(learner: Learner, batch: Tensor, step: int, run: Run) -> None:
    """Take a step. Where memory does not suffice for it, the state before it is saved, and OutOfMemory is raised."""
    try:
        learner.step(batch, step)
        return
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        said = _said(error)
    # the error is gone, and with it all that the step had computed
    raise OutOfMemory(_without_memory(said, _save(run, step - 1, partial(learner.former_state, step - 1))))


def saved_without_more(batches: Iterator[Tensor], learner: Learner, begin: int, run: Run) -> Iterator[Tensor]:
    """The batches after step `begin`. Where the next one cannot be had, the state is saved, if it is a new one.

    Then DataError, RunError or OutOfMemory is raised: the disk of the photographs may be gone, or memory used up.
    """
    step = begin
    try:
        for batch in batches:
            yield batch
            step += 1
    except (DataError, RunError, MemoryError, RuntimeError) as error:
        if step == begin or not (isinstance(error, DataError | RunError) or lacks_memory(error)):
            raise
        stopped = _save(run, step, partial(learner.state, step))
        if isinstance(error, DataError | RunError):
            raise type(error)(f"{error}; {stopped}") from error
        raise OutOfMemory(_without_memory(_said(error), stopped)) from error


def _save(run: Run, step: int, state: Callable[[], State]) -> str:
    """Save the state after a step; says how to go on, or what failed in that: no second error hides the first."""
    try:
        run.save(state())
    except (TrainerError, MemoryError, RuntimeError) as error:
        reason = in_words(error).removesuffix(GOING_ON) or "there is not enough memory"
        earlier = GOING_ON if run.state_file.exists() else ""
        return f"the state after step {step} could not be saved: {reason}{earlier}"
    return f"stopped after step {step}: the same command with --resume goes on from there"


def _said(error: BaseException) -> str:
    """Where memory is lacking and how much, as far as the error says it, in brackets."""
    first_line = str(error).partition("\n")[0][:SAID]
    return f" ({first_line})" if first_line else ""


def _without_memory(said: str, stopped: str) -> str:
    return (
        f"there is not enough memory any more{said}; {stopped}. A smaller --cache-mb and fewer --workers need less, "
        "as does a new run with a smaller --batch or a larger --accumulate"
    )
