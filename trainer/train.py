"""The training loop, the same for all tasks, and publishing what it trained."""

import copy
import math
from collections import deque
from collections.abc import Collection
from time import perf_counter

import torch
from torch import Tensor, nn
from tqdm import tqdm

from model_store import Manifest, ModelStore, NetworkSpec, TransformNetwork
from trainer.config import TrainConfig
from trainer.errors import Interrupted, TrainingDiverged
from trainer.interruption import interruption
from trainer.run_folder import Run, State, png
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
    network = task.network.train()
    if config.warm_start and not saved:
        warm_start(network, config)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    begin = _restore(saved, network, average, optimizer) if saved else 0
    recent: deque[dict[str, Tensor]] = deque(maxlen=config.log_every)
    clock = perf_counter()

    def state(step: int) -> State:
        return {
            "step": step,
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "losses": means(recent, step),
            "fingerprint": task.fingerprint,
        }

    bar = tqdm(task.photographs.batches(begin, config.steps), initial=begin, total=config.steps, unit="step")
    with interruption() as stop_requested:
        for step, batch in enumerate(bar, start=begin + 1):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step - 1)
            optimizer.zero_grad(set_to_none=True)
            terms = _accumulate_gradient(task, batch, step - 1, config.accumulate)
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip or math.inf)
            optimizer.step()
            update_average(average, network, min(config.ema, step / (step + 10)))

            recent.append({**terms, "gradient": norm.detach()})
            if step % config.log_every == 0:
                losses = means(recent, step)
                seconds, clock = perf_counter() - clock, perf_counter()
                speed = {"images_per_second": round(config.batch * len(recent) / seconds, 2)}
                run.log(step, losses | {"learning_rate": learning_rate(config, step)} | speed)
                bar.set_postfix({name: f"{value:.4g}" for name, value in (speed | losses).items()})
            if step % config.preview_every == 0 or step == config.steps:
                run.preview(step, task.preview(average))
            if step % config.save_every == 0 or step == config.steps or stop_requested.is_set():
                run.save(state(step))
            if stop_requested.is_set():
                raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on from there")
    return average


def publish(task: Task, config: TrainConfig, state: State) -> Manifest:
    """Publish the averaged network of a saved state into `config.store`, in its `served_form`; returns its manifest."""
    served = served_form(task.network.spec, state["average"])
    draft = task.draft(served, state["step"], state["losses"])
    return ModelStore(config.store).publish(served, draft, preview=png(task.preview(served)))


def served_form(spec: NetworkSpec, weights: dict[str, Tensor]) -> TransformNetwork:
    """The network that is served, in evaluation mode: in the form "native", which can be tiled, except with instance
    normalisation, which keeps the form of training."""
    form = spec.form if spec.norm == "instance" else "native"
    network = TransformNetwork(spec.model_copy(update={"form": form}))
    network.load_state_dict(weights)
    return network.eval()


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of a step, counted from 0: the configured one times the factor of a linear warm-up.

    With the schedule "cosine", also times half a cosine period from 1 at step 0 to 0 at `steps`.
    """
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    if config.schedule == "constant":
        return config.learning_rate * rise
    return config.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))


def means(recent: Collection[dict[str, Tensor]], step: int) -> dict[str, float]:
    """The mean of each value over the recent steps; raises TrainingDiverged where one is not a finite number."""
    names = next(iter(recent))
    losses = {name: torch.stack([terms[name] for terms in recent]).mean().item() for name in names}
    if not all(math.isfinite(value) for value in losses.values()):
        raise TrainingDiverged(f"step {step}: {losses}; a new run with a lower --learning-rate may help")
    return losses


def _accumulate_gradient(task: Task, batch: Tensor, step: int, parts: int) -> dict[str, Tensor]:
    """Add the gradient of the batch's mean loss, computed in `parts` equal parts; returns the terms of that loss."""
    shares: list[dict[str, Tensor]] = []
    for part in batch.chunk(parts):
        terms = {name: term / parts for name, term in task.losses(part, step).items()}
        torch.stack(list(terms.values())).sum().backward()
        shares.append({name: term.detach() for name, term in terms.items()})
    return {name: torch.stack([share[name] for share in shares]).sum() for name in shares[0]}


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update the exponential moving average of weights and running statistics; counters are copied."""
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _restore(saved: State, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a saved state into all three; returns its step."""
    network.load_state_dict(saved["network"])
    average.load_state_dict(saved["average"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])
