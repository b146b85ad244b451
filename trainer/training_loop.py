"""The training loop, the same for all tasks."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext

from torch import Tensor
from tqdm import tqdm

from model_store import TransformNetwork
from trainer.config import TrainConfig
from trainer.errors import DataError, Interrupted, TrainerError, lacks_memory
from trainer.interruption import interruption
from trainer.last_state import learn_or_save, saved_without_more
from trainer.learner import ALONE, Learner, learning_rate
from trainer.monitor import TrainingMonitor
from trainer.ranks import Ranks
from trainer.run_folder import Run
from trainer.step_graph import recorder_of
from trainer.task import Task
from trainer.warm_start import warm_start

log = logging.getLogger(__name__)


def train(
    task: Task,
    config: TrainConfig,
    run: Run,
    *,
    resume: bool = False,
    monitor: TrainingMonitor | None = None,
    ranks: Ranks = ALONE,
) -> TransformNetwork:
    """Train `task.network` for `config.steps` steps and return the averaged network.

    The state is saved every `save_every` steps, at the end, where the monitor asks for it, and after a first Ctrl-C or
    SIGTERM or a request to stop, between two steps; then Interrupted is raised. It is saved, too, where there is no
    next batch, or the first process has not enough memory for the next step, before DataError, RunError or OutOfMemory
    is raised. On a CPU a resumed run gives the same bits as an uninterrupted one. Raises TrainingDiverged where a loss
    or the gradient is not a finite number, and does not save that state; RunError as `Run.begin`.

    Of several processes, `ranks`, each computes its part of every batch, and the first reads and writes the run's
    folder. All stop where one is asked to. Raises RunError where another run in that folder is under way,
    TrainerError where a process has other images than the first.
    """
    ranks.check(config.batch, config.accumulate)
    with run.exclusive() if ranks.is_first else nullcontext():
        return _train(task, config, run, monitor or TrainingMonitor(), ranks, resume=resume)


def _train(
    task: Task, config: TrainConfig, run: Run, monitor: TrainingMonitor, ranks: Ranks, *, resume: bool
) -> TransformNetwork:
    """See `train`."""
    saved = ranks.from_first(lambda: run.begin(config, task.fingerprint, resume=resume))
    _require_same(task, ranks)
    origin = warm_start(task.network, config) if config.warm_start and not saved else ""
    device = task.hardware.device
    recorder = recorder_of(task.network, device, wanted=config.cuda_graphs, processes=ranks.count)
    learner = Learner(task, config, ranks, recorder, origin)
    begin = learner.restore(saved) if saved else 0
    monitor.begin(begin, config.steps)
    batches = task.photographs.batches(begin, config.steps, ranks.part(config.batch))
    if ranks.is_first:
        batches = saved_without_more(batches, learner, begin, run)
    bar = tqdm(batches, initial=begin, total=config.steps, unit="step", disable=not ranks.is_first)
    with interruption(monitor.stop_requested):
        for step, batch in enumerate(bar, start=begin + 1):
            if ranks.is_first and step > begin + 1:
                learn_or_save(learner, batch, step, run)
            else:
                learner.step(batch, step)
            monitor.advance(step)
            if step % config.log_every == 0:
                values = _measure(learner, config, step)
                if ranks.is_first:
                    _log(values, step, run, monitor, bar)
            stopping = _save_if_due(learner, step, config, run, monitor, ranks)
            if ranks.is_first and (step % config.preview_every == 0 or step == config.steps):
                _preview(task, learner, step, run, monitor)
            if stopping or (step == config.steps and ranks.is_first and monitor.stop_requested.is_set()):
                raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on from there")
    return learner.average


def _log(values: Mapping[str, float], step: int, run: Run, monitor: TrainingMonitor, bar: "tqdm[Tensor]") -> None:
    run.log(step, values)
    monitor.log(step, values)
    bar.set_postfix({name: f"{value:.4g}" for name, value in values.items() if name != "learning_rate"})


def _preview(task: Task, learner: Learner, step: int, run: Run, monitor: TrainingMonitor) -> None:
    """A warning says so where there is no photograph or no memory for it: a training is not lost for that."""
    try:
        picture = task.preview(learner.average)
    except DataError as error:
        log.warning("no preview of step %d: %s", step, error)
        return
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        log.warning("no preview of step %d: there is not enough memory for it", step)
        return
    run.preview(step, picture)
    monitor.preview(step, picture)


def _require_same(task: Task, ranks: Ranks) -> None:
    """Raise TrainerError in a process that would learn from other images than the first."""
    if ranks.from_first(lambda: task.fingerprint) != task.fingerprint:
        raise TrainerError(
            f"process {ranks.rank} of {ranks.count} has other photographs, another painting, loss network or teacher "
            "than the first; all machines need the same files"
        )


def _save_if_due(
    learner: Learner, step: int, config: TrainConfig, run: Run, monitor: TrainingMonitor, ranks: Ranks
) -> bool:
    """Save the state where it is time, or was asked for. Returns whether a stop was, in any process."""
    stopping, last = ranks.any(monitor.stop_requested.is_set()), step == config.steps
    due = step % config.save_every == 0 or last or stopping or monitor.wants_state
    if due and ranks.is_first:
        run.save(learner.state(step))
        monitor.saved()
    return stopping


def _measure(learner: Learner, config: TrainConfig, step: int) -> dict[str, float]:
    """The losses, the learning rate and the speed."""
    losses = learner.losses(step)  # the device has then finished, and the speed is true
    rates = {"learning_rate": learning_rate(config, step - 1), "images_per_second": learner.images_per_second()}
    return losses | rates
