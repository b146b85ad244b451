"""What a step of training changes: the network, its average, the discriminator, and the state of the optimiser."""

import copy
import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import TrainConfig
from trainer.errors import TrainingDiverged
from trainer.ranks import Ranks
from trainer.run_folder import State
from trainer.step_graph import Compute, GraphedSteps, Recorder
from trainer.step_inputs import StepInputs
from trainer.task import Task

ALONE = Ranks()

DISCRIMINATOR_RATE = 4.0
"""Its learning rate over the network's: it is to be ahead (Heusel et al. 2017, two time-scale update rule)."""


class Learner:
    """Trains the network of a task, step by step. Steps are counted from 1."""

    def __init__(self, task: Task, config: TrainConfig, ranks: Ranks = ALONE, recorder: Recorder | None = None) -> None:
        """With a recorder, steps are graphs where they can be."""
        self.average = copy.deepcopy(task.network).eval().requires_grad_(False)
        """The moving average of the network's weights, which is what a run gives."""
        self._task = task
        self._config = config
        self._ranks = ranks
        self._network = task.network.train()
        self._discriminator = task.discriminator
        self._trained = [network for network in (task.network, task.discriminator) if network is not None]
        device = task.hardware.device
        self._share = torch.zeros((), device=device)
        """Of the network's weights in their new average."""
        self._optimizer = torch.optim.Adam(
            [
                {"params": [*network.parameters()], "lr": _rate_on(device) if recorder else rate}
                for network, rate in zip(self._trained, _rates(config.learning_rate), strict=False)
            ],
            fused=True,
            capturable=recorder is not None,
        )
        self._run: Compute = self._compute
        if recorder:
            self._run = GraphedSteps(self._compute, self._changed, recorder, task.hardware.precision)
        self._recent: deque[dict[str, Tensor]] = deque(maxlen=config.log_every)
        self._clock = perf_counter()

    def step(self, batch: Tensor, step: int) -> None:
        """Learn from this process's part of a batch of photographs, uint8 RGB (N, 3, H, W), with the others."""
        inputs = [self._task.inputs(part, step - 1) for part in batch.chunk(self._config.accumulate)]
        self._share.fill_(1 - min(self._config.ema, step / (step + 10)))
        self._set_learning_rate(learning_rate(self._config, step - 1))
        self._recent.append(self._run(inputs))

    def _set_learning_rate(self, rate: float) -> None:
        for group, own in zip(self._optimizer.param_groups, _rates(rate), strict=False):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(own)  # a graph reads it there
            else:
                group["lr"] = own

    def _compute(self, inputs: Sequence[StepInputs]) -> dict[str, Tensor]:
        """A step, with the learning rate and the share as they are set; all that a graph records."""
        self._optimizer.zero_grad(set_to_none=True)
        terms = _accumulate_gradient(self._task, inputs)
        gradients = [weight.grad for weight in self._weights() if weight.grad is not None]
        self._ranks.average([*gradients, *terms.values()])
        most = self._config.clip or math.inf
        norm, *_ = [nn.utils.clip_grad_norm_(network.parameters(), most) for network in self._trained]
        self._optimizer.step()
        update_average(self.average, self._network, self._share)
        return {**terms, "gradient": norm.detach()}

    def _weights(self) -> Iterator[nn.Parameter]:
        return chain.from_iterable(network.parameters() for network in self._trained)

    def _changed(self) -> dict[str, list[Tensor]]:
        """What a step changes."""
        kept = self._optimizer.state.values()
        return {
            "weights": [*self._weights()],
            "statistics": [*chain.from_iterable(network.buffers() for network in self._trained)],
            "averages": [*self.average.state_dict().values()],
            **{name: [values[name] for values in kept] for name in ("exp_avg", "exp_avg_sq", "step")},
        }

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
            **self.state_of_networks(),
            "step": step,
            "optimizer": self._optimizer_state(step),
            "losses": self.losses(step),
            "fingerprint": self._task.fingerprint,
        }

    def state_of_networks(self) -> State:
        """The weights of the network, of its average, and of the discriminator where there is one."""
        networks = {"network": self._network, "average": self.average, "discriminator": self._discriminator}
        return {name: network.state_dict() for name, network in networks.items() if network is not None}

    def restore(self, saved: State) -> int:
        """Go on from a saved state; returns its step."""
        self._network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        if self._discriminator:
            self._discriminator.load_state_dict(saved["discriminator"])
        own = [{name: group[name] for name in ("lr", "capturable")} for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(saved["optimizer"])
        for group, options in zip(self._optimizer.param_groups, own, strict=True):
            group.update(options)
        return int(saved["step"])

    def _optimizer_state(self, step: int) -> dict[str, Any]:
        """The same whether steps are graphs or not."""
        state = self._optimizer.state_dict()
        rates = _rates(learning_rate(self._config, step - 1))
        groups = [
            group | {"lr": rate, "capturable": False} for group, rate in zip(state["param_groups"], rates, strict=False)
        ]
        return state | {"param_groups": groups}


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
def update_average(average: nn.Module, network: nn.Module, share: Tensor) -> None:
    """Update the exponential moving average of weights and running statistics; counters are copied.

    `share`: of the new values, 1 - decay.
    """
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)


def _accumulate_gradient(task: Task, inputs: Sequence[StepInputs]) -> dict[str, Tensor]:
    """Add the gradient of the batch's mean loss, computed in equal parts; returns the terms of that loss."""
    shares: list[dict[str, Tensor]] = []
    for part in inputs:
        terms = {name: term / len(inputs) for name, term in task.losses(part).items()}
        torch.stack(list(terms.values())).sum().backward()
        shares.append({name: term.detach() for name, term in terms.items()})
    return {name: torch.stack([share[name] for share in shares]).sum() for name in shares[0]}


def _rates(rate: float) -> tuple[float, float]:
    """The learning rates of the network and of a discriminator, for that of a step."""
    return rate, DISCRIMINATOR_RATE * rate


def _rate_on(device: torch.device) -> Tensor:
    """A place for the learning rate, in the precision in which the fused Adam of the device reads it."""
    return torch.zeros((), dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)
