"""One training, from its options to the published network: with a page and event files where they are asked for."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_store import Manifest, StoreError
from model_store.error_messages import in_words
from trainer.config import SuperResolutionConfig, TrainConfig
from trainer.errors import RunError, TrainerError
from trainer.evaluate import format_scores
from trainer.event_files import EventFiles
from trainer.hardware import Hardware
from trainer.monitor import TrainingMonitor
from trainer.publishing import publish, require_store
from trainer.ranks import Ranks, device_of_rank, joined
from trainer.run_folder import Run
from trainer.task import Task, build
from trainer.training_loop import train
from trainer.watch.server import Listener, WatchServer, listen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Invocation:
    """How a training is started, which changes nothing in the network."""

    resume: bool = False
    watch: str | None = None
    """Where the page is served, as `trainer.watch.address` has it; None for no page."""
    tensorboard: Path | None = None
    """Folder of TensorBoard's event files; None for none."""


def train_and_publish(config: TrainConfig, invocation: Invocation) -> str:
    """Train and publish; returns what to print. What can be refused at once is refused before anything is loaded.

    Of the processes that torchrun starts, the first does all but the steps alone; the others return an empty text.
    """
    ranks, hardware = Ranks.of(os.environ), hardware_of(config)
    _check_ranks(config, ranks)
    if not ranks.is_first:
        return _train_along(config, invocation, hardware)
    run = Run(config.folder)
    run.check(config, resume=invocation.resume)
    run.require_writable()
    require_store(config)
    _warn_without_license(config)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(invocation.watch)) if invocation.watch else None
        recorders = [stack.enter_context(closing(EventFiles(folder))) for folder in [invocation.tensorboard] if folder]
        task = build(config, hardware)
        stack.enter_context(run.exclusive())
        monitor = TrainingMonitor(lambda: _publish(task, config, run).label, recorders)
        stack.enter_context(_shown(monitor, run, config, listener))
        with joined(hardware.device):
            train(task, config, run, resume=invocation.resume, monitor=monitor, ranks=ranks)
        result = _finish(task, config, run, monitor, resumed=invocation.resume)
        monitor.end(result)
    return result


def publish_run(config: TrainConfig, run: Run) -> str:
    """Publish the saved state of a run; returns what to print."""
    require_store(config)
    return _describe(_publish(build(config, hardware_of(config)), config, run), config)


def hardware_of(config: TrainConfig) -> Hardware:
    """The device and the precision of a configuration; under torchrun, of this process."""
    return Hardware.of(device_of_rank(config.device, os.environ), config.precision, config.threads)


def _train_along(config: TrainConfig, invocation: Invocation, hardware: Hardware) -> str:
    """Compute a part of every step, for the first process to keep."""
    task = build(config, hardware)
    with joined(hardware.device) as ranks:
        train(task, config, Run(config.folder), resume=invocation.resume, ranks=ranks)
    return ""


def _finish(task: Task, config: TrainConfig, run: Run, monitor: TrainingMonitor, *, resumed: bool) -> str:
    """Publish the last state, unless that store has it: since before a resumption, or by request after the last step.

    Raises RunError, which says how to publish it later, where that is impossible.
    """
    label = run.published_as(run.load()["step"], _place(config))
    if label:
        return f"the run was finished, and published as {label}; `publish --run {run.folder}` publishes it again"
    try:
        manifest = _publish(task, config, run, once=resumed)
    except (StoreError, TrainerError, OSError) as error:
        later = f"`pastiche-train publish --run {run.folder}` publishes it"
        raise RunError(
            f"not published: {in_words(error)}. The trained state is kept in {run.folder}: {later}"
        ) from error
    monitor.note_published(manifest.label)
    return _describe(manifest, config)


def _publish(task: Task, config: TrainConfig, run: Run, *, once: bool = False) -> Manifest:
    state = run.load()
    manifest = publish(task, config, state, once=once)
    run.note_published(state["step"], manifest.label, _place(config))
    return manifest


def _place(config: TrainConfig) -> str:
    """The store, also for who resumes the run from another folder."""
    return str(config.store.absolute()) if isinstance(config.store, Path) else config.store


def _describe(manifest: Manifest, config: TrainConfig) -> str:
    """What was published, the figures of the validation images where there are some, and how to use it."""
    lines = [f"published {manifest.label} ({manifest.digest})"]
    if isinstance(config, SuperResolutionConfig) and config.validation:
        suffix = f"_{config.validation.name.lower()}"
        metrics = manifest.provenance.metrics.items()
        scores = {name.removesuffix(suffix): value for name, value in metrics if name.endswith(suffix)}
        lines.append(f"{config.validation.name}: {format_scores(scores)}")
    call = f"stylize/{config.name}" if manifest.task == "style" else f"upscale/{manifest.scale}?model={config.name}"
    lines.append(f"a service whose stores include {config.store} has it within seconds:")
    lines.append(f"    curl --data-binary @photo.jpg 'localhost:8000/v1/{call}' -o {config.name}.jpg")
    return "\n".join(lines)


def _check_ranks(config: TrainConfig, ranks: Ranks) -> None:
    """Raise TrainerError for what several processes cannot do."""
    ranks.check(config.batch, config.accumulate)
    if ranks.count > 1 and isinstance(config, SuperResolutionConfig) and config.teacher:
        raise TrainerError(
            "under torchrun the teacher's answers must be there: compute them by `pastiche-train answers`, and leave "
            "--teacher out"
        )


def _warn_without_license(config: TrainConfig) -> None:
    if not config.license:
        log.warning(
            "--license is not given: the manifest and the model card will state no licence of the weights, so nobody "
            "else knows what they may do with them; --license Apache-2.0 is that of the shipped networks"
        )


@contextmanager
def _shown(monitor: TrainingMonitor, run: Run, config: TrainConfig, listener: Listener | None) -> Iterator[None]:
    """Show the training on a page while the block runs, and how it ended."""
    if listener is None:
        yield
        return
    with WatchServer(monitor, run, config, listener) as server:
        log.info("watch the training at %s", server.url)
        try:
            yield
        except BaseException as error:
            monitor.end(str(error) or "interrupted")
            raise
