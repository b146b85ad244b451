"""The training loop, the same for all tasks."""

from tqdm import tqdm

from model_store import TransformNetwork
from trainer.config import TrainConfig
from trainer.errors import Interrupted
from trainer.interruption import interruption
from trainer.learner import Learner, learning_rate
from trainer.run_folder import Run
from trainer.stored_models import warm_start
from trainer.task import Task


def train(task: Task, config: TrainConfig, run: Run, *, resume: bool = False) -> TransformNetwork:
    """Train `task.network` for `config.steps` steps and return the averaged network.

    The state is saved every `save_every` steps, at the end, and after a first Ctrl-C or SIGTERM, between two steps;
    then Interrupted is raised. On a CPU a resumed run gives the same bits as an uninterrupted one. Raises
    TrainingDiverged where a loss or the gradient is not a finite number, and does not save that state; RunError as
    `Run.begin`.
    """
    saved = run.begin(config, task.fingerprint, resume=resume)
    if config.warm_start and not saved:
        warm_start(task.network, config)
    learner = Learner(task, config)
    begin = learner.restore(saved) if saved else 0
    bar = tqdm(task.photographs.batches(begin, config.steps), initial=begin, total=config.steps, unit="step")
    with interruption() as stop_requested:
        for step, batch in enumerate(bar, start=begin + 1):
            learner.step(batch, step)
            last = step == config.steps
            if step % config.log_every == 0:
                shown = _log(learner, config, run, step)
                bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})
            if step % config.preview_every == 0 or last:
                run.preview(step, task.preview(learner.average))
            if step % config.save_every == 0 or last or stop_requested.is_set():
                run.save(learner.state(step))
            if stop_requested.is_set():
                raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on from there")
    return learner.average


def _log(learner: Learner, config: TrainConfig, run: Run, step: int) -> dict[str, float]:
    """Add the losses, the learning rate and the speed to the run's metrics; returns losses and speed."""
    losses, speed = learner.losses(step), {"images_per_second": learner.images_per_second()}
    run.log(step, losses | {"learning_rate": learning_rate(config, step)} | speed)
    return speed | losses
