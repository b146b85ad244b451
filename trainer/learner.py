"""What a step of training changes: the network, its average, and the state of the optimiser."""

import copy
import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import TrainConfig
from trainer.errors import TrainerError, TrainingDiverged
from trainer.ranks import Ranks
from trainer.run_folder import State
from trainer.step_graph import Compute, GraphedSteps, Recorder
from trainer.step_inputs import StepInputs
from trainer.task import Task

ALONE = Ranks()

RATE_FACTORS = (1.0, 5.0)
"""Of the learning rate, for the network and for the discriminator, which has to follow it (Heusel et al. 2017)."""


class Learner:
    """Trains the network of a task, step by step. Steps are counted from 1."""

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        ranks: Ranks = ALONE,
        recorder: Recorder | None = None,
        origin: str = "",
    ) -> None:
        """With a recorder, steps are graphs where they can be. `origin`: of the warm start, name@version."""
        self.average = copy.deepcopy(task.network).eval().requires_grad_(False)
        """The moving average of the network's weights, which is what a run gives."""
        self._task = task
        self._config = config
        self._ranks = ranks
        self._origin = origin
        self._network = task.network.train()
        self._discriminator = task.discriminator
        device = task.hardware.device
        self._share = torch.zeros((), device=device)
        """Of the network's weights in their new average."""
        self._optimizer = torch.optim.Adam(
            [
                {"params": [*network.parameters()], "lr": _rate_on(device) if recorder else config.learning_rate}
                for network in self._networks()
            ],
            fused=True,
            capturable=recorder is not None,
        )
        self._run: Compute = self._compute
        if recorder:
            self._run = GraphedSteps(self._compute, self._changed, recorder, task.hardware.precision)
        self._statistics = [buffer for network in self._networks() for buffer in network.buffers()]
        """What a step changes while it computes losses, before the optimiser changes the weights."""
        self._former_statistics = [buffer.clone() for buffer in self._statistics]
        self._recent: deque[dict[str, Tensor]] = deque(maxlen=config.log_every)
        self._untimed = 0
        """Steps since the speed was asked for."""
        self._clock = perf_counter()

    @property
    def uses_graphs(self) -> bool:
        """Whether steps are graphs where they can be."""
        return isinstance(self._run, GraphedSteps) and self._run.are_used

    def step(self, batch: Tensor, step: int) -> None:
        """Learn from this process's part of a batch of photographs, uint8 RGB (N, 3, H, W), with the others.

        Where that fails, there is the `former_state`.
        """
        _copy(self._statistics, self._former_statistics)
        inputs = [self._task.inputs(part, step - 1) for part in batch.chunk(self._config.accumulate)]
        self._share.fill_(1 - min(self._config.ema, step / (step + 10)))
        self._set_learning_rate(learning_rate(self._config, step - 1))
        self._recent.append(self._run(inputs))
        self._untimed += 1

    def _set_learning_rate(self, rate: float) -> None:
        for group, factor in zip(self._optimizer.param_groups, RATE_FACTORS, strict=False):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(factor * rate)  # a graph reads it there
            else:
                group["lr"] = factor * rate

    def _compute(self, inputs: Sequence[StepInputs]) -> dict[str, Tensor]:
        """A step, with the learning rate and the share as they are set; all that a graph records."""
        self._optimizer.zero_grad(set_to_none=True)
        terms = _accumulate_gradient(self._task, inputs)
        weights = [weight for network in self._networks() for weight in network.parameters()]
        self._ranks.average([*(weight.grad for weight in weights if weight.grad is not None), *terms.values()])
        norm, *_ = (
            nn.utils.clip_grad_norm_(network.parameters(), self._config.clip or math.inf)
            for network in self._networks()
        )
        self._optimizer.step()
        update_average(self.average, self._network, self._share)
        return {**terms, "gradient": norm.detach()}

    def _networks(self) -> list[nn.Module]:
        """All that learn: the task's network, and the discriminator where there is one."""
        return [self._network, *([self._discriminator] if self._discriminator else [])]

    def _changed(self) -> dict[str, list[Tensor]]:
        """What a step changes."""
        kept = self._optimizer.state.values()
        return {
            "weights": [weight for network in self._networks() for weight in network.parameters()],
            "statistics": [buffer for network in self._networks() for buffer in network.buffers()],
            "averages": [*self.average.state_dict().values()],
            **{name: [values[name] for values in kept] for name in ("exp_avg", "exp_avg_sq", "step")},
        }

    def losses(self, step: int) -> dict[str, float]:
        """The mean of each loss over the last `log_every` steps, also of those before a resumption.

        Raises TrainingDiverged.
        """
        return means(self._recent, step)

    def images_per_second(self) -> float:
        """Since the last call, or since the first step."""
        seconds, self._clock = perf_counter() - self._clock, perf_counter()
        steps, self._untimed = self._untimed, 0
        return round(self._config.batch * steps / seconds, 2)

    def state(self, step: int) -> State:
        """Everything that a resumed run needs. Raises TrainingDiverged where it is not worth that."""
        return {
            "step": step,
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer_state(step),
            "losses": self.losses(step),
            "recent_losses": {name: torch.stack([terms[name] for terms in self._recent]) for name in self._recent[0]},
            "fingerprint": self._task.fingerprint,
            "warm_start": self._origin,
            **({"discriminator": self._discriminator.state_dict()} if self._discriminator else {}),
        }

    def former_state(self, step: int) -> State:
        """The state after `step` again, where the next one has failed. Raises TrainerError where that changed weights.

        It ends the training: gradients are given up, whose memory may be missing.
        """
        self._optimizer.zero_grad(set_to_none=True)
        if any(int(values["step"]) > step for values in self._optimizer.state.values()):
            raise TrainerError(f"step {step + 1} has changed weights already")
        _copy(self._former_statistics, self._statistics)
        return self.state(step)

    def restore(self, saved: State) -> int:
        """Go on from a saved state; returns its step."""
        self._origin = saved.get("warm_start", "")  # states of earlier versions have none
        self._network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        if self._discriminator:
            self._discriminator.load_state_dict(saved["discriminator"])
        own = [{name: group[name] for name in ("lr", "capturable")} for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(saved["optimizer"])
        for group, options in zip(self._optimizer.param_groups, own, strict=True):
            group.update(options)
        self._recent.extend(_by_step(saved.get("recent_losses", {}), self._share.device))
        return int(saved["step"])

    def _optimizer_state(self, step: int) -> dict[str, Any]:
        """The same whether steps are graphs or not."""
        state = self._optimizer.state_dict()
        usual = {"lr": learning_rate(self._config, step - 1), "capturable": False}
        return state | {"param_groups": [group | usual for group in state["param_groups"]]}


def _copy(values: list[Tensor], places: list[Tensor]) -> None:
    if values:  # torch takes no empty lists
        torch._foreach_copy_(places, values)


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
    wrong = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingDiverged(f"step {step}: {', '.join(wrong)}; a new run with a lower --learning-rate may help")
    return losses


def _by_step(losses: Mapping[str, Tensor], device: torch.device) -> list[dict[str, Tensor]]:
    """What each step's losses were, from the values of all steps by name."""
    columns = (values.to(device).unbind() for values in losses.values())
    return [dict(zip(losses, values, strict=True)) for values in zip(*columns, strict=True)]


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


def _rate_on(device: torch.device) -> Tensor:
    """A place for the learning rate, in the precision in which the fused Adam of the device reads it."""
    return torch.zeros((), dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)
