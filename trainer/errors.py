"""The errors that end a command with a message; each message says what would have been accepted."""

import torch


class TrainerError(Exception):
    """Base class: a command that cannot start or continue."""


def lacks_memory(error: BaseException) -> bool:
    """Whether it says that a processor, or a GPU, has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


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


class RankLost(TrainerError):
    """Another process of the training has ended, or does not answer."""


class Interrupted(TrainerError):
    """The run was asked to stop, and its state is saved."""

    exit_status = 130
    """128 and the number of the signal; where it was no signal, that of Ctrl-C."""
