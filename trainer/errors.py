"""What stops a training run; every message says what would have been accepted."""


class TrainerError(Exception):
    """A run that cannot start or go on."""


class DataError(TrainerError):
    """Images that cannot be trained on."""


class LossNetworkError(TrainerError):
    """Weights that do not fit the layout of the loss network."""


class RunError(TrainerError):
    """A run's folder does not fit what was asked of it."""


class TrainingDiverged(TrainerError):
    """The loss is no longer a finite number."""


class Interrupted(TrainerError):
    """The run was asked to stop, and has saved its state."""
