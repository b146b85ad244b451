"""The errors that end a command with a message; each message says what would have been accepted."""

import torch

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
"""Parts of what torch, CUDA and its libraries say where memory does not suffice, in a plain RuntimeError."""

_NO_PRIMITIVE = "could not create a primitive"
"""All that oneDNN says then, on a CPU; other messages of it go on."""


class TrainerError(Exception):
    """Base class: a command that cannot start or continue."""


def lacks_memory(error: BaseException) -> bool:
    """Whether it says that a processor, or a GPU, has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (said == _NO_PRIMITIVE or any(words in said for words in _OUT_OF_MEMORY))


class OptionError(TrainerError):
    """An option has a value that is not accepted."""


class DataError(TrainerError):
    """An image or a folder of images cannot be used."""


class LossNetworkError(TrainerError):
    """The loss network's weights cannot be read, or do not fit the layout."""


class RunError(TrainerError):
    """A run's folder does not allow what was asked: to start, to resume or to publish."""


class TrainingDiverged(TrainerError):
    """A loss or the gradient is not a finite number."""


class OutOfMemory(TrainerError):
    """There is not enough memory for a step, after others had enough."""


class RankLost(TrainerError):
    """Another process of the training has ended, or does not answer."""


class Interrupted(TrainerError):
    """The run was asked to stop, and its state is saved."""

    exit_status = 130
    """128 and the number of the signal; where it was no signal, that of Ctrl-C."""
