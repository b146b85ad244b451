"""The training loop, the same for all tasks."""

from tqdm import tqdm

from model_store import TransformNetwork
from trainer.config import TrainConfig
from trainer.errors import Interrupted
from trainer.interruption import interruption
from trainer.learner import Learner, learning_rate
from trainer.run_folder import Run
from trainer.session import Session
from trainer.stored_models import warm_start
from trainer.task import Task


def train(
    task: Task, config: TrainConfig, run: Run, *, resume: bool = False, session: Session | None = None
) -> TransformNetwork:
    """Train `task.network` for `config.steps` steps and return the averaged network.

    The state is saved every `save_every` steps, at the end, where the session asks for it, and after a first Ctrl-C or
    SIGTERM or a request to stop, between two steps; then Interrupted is raised. On a CPU a resumed run gives the same
    bits as an uninterrupted one. Raises TrainingDiverged where a loss or the gradient is not a finite number, and does
    not save that state; RunError as `Run.begin`.
    """
    session = session or Session()
    saved = run.begin(config, task.fingerprint, resume=resume)
    if config.warm_start and not saved:
        warm_start(task.network, config)
    learner = Learner(task, config)
    begin = learner.restore(saved) if saved else 0
    session.begin(begin, config.steps)
    bar = tqdm(task.photographs.batches(begin, config.steps), initial=begin, total=config.steps, unit="step")
    with interruption(session.stop_requested):
        for step, batch in enumerate(bar, start=begin + 1):
            learner.step(batch, step)
            session.advance(step)
            last = step == config.steps
            if step % config.log_every == 0:
                values = _measure(learner, config, step)
                run.log(step, values)
                session.log(step, values)
                bar.set_postfix({name: f"{value:.4g}" for name, value in values.items() if name != "learning_rate"})
            if step % config.preview_every == 0 or last:
                picture = task.preview(learner.average)
                run.preview(step, picture)
                session.preview(step, picture)
            stopping = session.stop_requested.is_set()
            if step % config.save_every == 0 or last or stopping or session.wants_state:
                run.save(learner.state(step))
                session.saved()
            if stopping:
                raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on from there")
    return learner.average


def _measure(learner: Learner, config: TrainConfig, step: int) -> dict[str, float]:
    """The losses, the learning rate and the speed."""
    losses = learner.losses(step)  # the device has then finished, and the speed is true
    rates = {"learning_rate": learning_rate(config, step), "images_per_second": learner.images_per_second()}
    return losses | rates
