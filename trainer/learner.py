"""What a step of training changes: the network, its average, and the state of the optimiser."""

import copy
import math
from collections import deque
from collections.abc import Collection
from time import perf_counter

import torch
from torch import Tensor, nn

from trainer.config import TrainConfig
from trainer.errors import TrainingDiverged
from trainer.ranks import Ranks
from trainer.run_folder import State
from trainer.task import Task

ALONE = Ranks()


class Learner:
    """Trains the network of a task, step by step. Steps are counted from 1."""

    def __init__(self, task: Task, config: TrainConfig, ranks: Ranks = ALONE) -> None:
        self.average = copy.deepcopy(task.network).eval().requires_grad_(False)
        """The moving average of the network's weights, which is what a run gives."""
        self._task = task
        self._config = config
        self._ranks = ranks
        self._network = task.network.train()
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=config.learning_rate, fused=True)
        self._recent: deque[dict[str, Tensor]] = deque(maxlen=config.log_every)
        self._clock = perf_counter()

    def step(self, batch: Tensor, step: int) -> None:
        """Learn from this process's part of a batch of photographs, uint8 RGB (N, 3, H, W), with the others."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._config, step - 1)
        self._optimizer.zero_grad(set_to_none=True)
        terms = _accumulate_gradient(self._task, batch, step - 1, self._config.accumulate)
        gradients = [weight.grad for weight in self._network.parameters() if weight.grad is not None]
        self._ranks.average([*gradients, *terms.values()])
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip or math.inf)
        self._optimizer.step()
        update_average(self.average, self._network, min(self._config.ema, step / (step + 10)))
        self._recent.append({**terms, "gradient": norm.detach()})

    def losses(self, step: int) -> dict[str, float]:
        """The mean of each loss over the last `log_every` steps. Raises TrainingDiverged."""
        return means(self._recent, step)

    def images_per_second(self) -> float:
        """Since the last call, or since the first step."""
        seconds, self._clock = perf_counter() - self._clock, perf_counter()
        return round(self._config.batch * len(self._recent) / seconds, 2)

    def state(self, step: int) -> State:
        """Everything that a resumed run needs. Raises TrainingDiverged where it is not worth that."""
        return {
            "step": step,
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "losses": self.losses(step),
            "fingerprint": self._task.fingerprint,
        }

    def restore(self, saved: State) -> int:
        """Go on from a saved state; returns its step."""
        self._network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self._optimizer.load_state_dict(saved["optimizer"])
        return int(saved["step"])


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


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update the exponential moving average of weights and running statistics; counters are copied."""
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _accumulate_gradient(task: Task, batch: Tensor, step: int, parts: int) -> dict[str, Tensor]:
    """Add the gradient of the batch's mean loss, computed in `parts` equal parts; returns the terms of that loss."""
    shares: list[dict[str, Tensor]] = []
    for part in batch.chunk(parts):
        terms = {name: term / parts for name, term in task.losses(part, step).items()}
        torch.stack(list(terms.values())).sum().backward()
        shares.append({name: term.detach() for name, term in terms.items()})
    return {name: torch.stack([share[name] for share in shares]).sum() for name in shares[0]}
