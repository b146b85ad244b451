"""The training loop, the same for all tasks."""

from collections.abc import Mapping

from torch import Tensor
from tqdm import tqdm

from model_store import TransformNetwork
from trainer.config import TrainConfig
from trainer.errors import Interrupted
from trainer.interruption import interruption
from trainer.learner import Learner, learning_rate
from trainer.monitor import TrainingMonitor
from trainer.run_folder import Run
from trainer.stored_models import warm_start
from trainer.task import Task


def train(
    task: Task, config: TrainConfig, run: Run, *, resume: bool = False, monitor: TrainingMonitor | None = None
) -> TransformNetwork:
    """Train `task.network` for `config.steps` steps and return the averaged network.

    The state is saved every `save_every` steps, at the end, where the monitor asks for it, and after a first Ctrl-C or
    SIGTERM or a request to stop, between two steps; then Interrupted is raised. On a CPU a resumed run gives the same
    bits as an uninterrupted one. Raises TrainingDiverged where a loss or the gradient is not a finite number, and does
    not save that state; RunError as `Run.begin`.
    """
    monitor = monitor or TrainingMonitor()
    saved = run.begin(config, task.fingerprint, resume=resume)
    if config.warm_start and not saved:
        warm_start(task.network, config)
    learner = Learner(task, config)
    begin = learner.restore(saved) if saved else 0
    monitor.begin(begin, config.steps)
    bar = tqdm(task.photographs.batches(begin, config.steps), initial=begin, total=config.steps, unit="step")
    with interruption(monitor.stop_requested):
        for step, batch in enumerate(bar, start=begin + 1):
            learner.step(batch, step)
            monitor.advance(step)
            if step % config.log_every == 0:
                values = _measure(learner, config, step)
                _log(values, step, run, monitor, bar)
            if step % config.preview_every == 0 or step == config.steps:
                picture = task.preview(learner.average)
                run.preview(step, picture)
                monitor.preview(step, picture)
            _save_if_due(learner, step, config, run, monitor)
    return learner.average


def _log(values: Mapping[str, float], step: int, run: Run, monitor: TrainingMonitor, bar: "tqdm[Tensor]") -> None:
    run.log(step, values)
    monitor.log(step, values)
    bar.set_postfix({name: f"{value:.4g}" for name, value in values.items() if name != "learning_rate"})


def _save_if_due(learner: Learner, step: int, config: TrainConfig, run: Run, monitor: TrainingMonitor) -> None:
    """Save the state where it is time, or was asked for. Raises Interrupted where a stop was."""
    stopping, last = monitor.stop_requested.is_set(), step == config.steps
    if step % config.save_every == 0 or last or stopping or monitor.wants_state:
        run.save(learner.state(step))
        monitor.saved()
    if stopping:
        raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on from there")


def _measure(learner: Learner, config: TrainConfig, step: int) -> dict[str, float]:
    """The losses, the learning rate and the speed."""
    losses = learner.losses(step)  # the device has then finished, and the speed is true
    rates = {"learning_rate": learning_rate(config, step), "images_per_second": learner.images_per_second()}
    return losses | rates
