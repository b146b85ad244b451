"""Training steps as CUDA graphs: their hundreds of launches become one.

A graph is recorded for each combination of shapes, after such steps have been computed some times as usual. Then it is
compared with the usual step, from the same state: where the two differ, or a graph cannot be recorded, steps are
computed as usual to the end of the training, and a warning says why.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from model_store.graph_capture import GraphCapture
from trainer.step_inputs import StepInputs

Inputs = Sequence[StepInputs]
"""Of the parts of a batch."""

Values = dict[str, Tensor]
"""Losses by name, without dimensions."""

State = Mapping[str, Sequence[Tensor]]
"""All tensors that a step changes, by what they are."""

Compute = Callable[[Inputs], Values]
"""Computes a step: changes the state, and returns the losses."""

Result = TypeVar("Result")

WARM_UP_STEPS = 3
"""Steps of a shape before its graph is recorded, in which libraries choose their algorithms and allocate memory."""

MAX_GRAPHS = 32
"""Steps of further shapes are computed as usual."""

NOISE_FACTOR = 4
"""How many times as much as two usual steps from the same state may the graph's differ beyond its tolerance."""

MOST_DIFFERENT = 0.5
"""Of what a step changes, however much two usual steps differ: a graph that does nothing differs by 1."""

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Records what is computed on a device."""

    def warm_up(self, work: Callable[[], Result]) -> Result:
        """Compute `work` as it will be recorded."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Record what `work` computes, and where its result is to be; whether it is computed now is left open.

        The function that is returned computes it: from what the same tensors contain by then, and into them.
        """


class CudaRecorder:
    """Records CUDA graphs, which share their memory."""

    def __init__(self, device: torch.device) -> None:
        self._capture = GraphCapture(device)

    def warm_up(self, work: Callable[[], Result]) -> Result:
        """See `Recorder`."""
        return self._capture.warm_up(work)

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """See `Recorder`. Threads that prepare photographs go on meanwhile."""
        with self._capture.capture() as graph:
            result = work()
        return result, graph.replay


class Tolerance(NamedTuple):
    """How far a graph's step may differ from the usual one, as shares."""

    loss: float
    """Of each loss."""
    change: float
    """Of the change of weights, averages and moments. Adam's first steps depend on the signs of gradients: rounding is
    enough for some to differ."""


TOLERANCES = {torch.float32: Tolerance(1e-3, 0.1), torch.bfloat16: Tolerance(2e-2, 0.2)}
"""By the precision of networks."""


@dataclass
class Recorded:
    """A recorded step."""

    inputs: Inputs
    """From which it reads."""
    names: list[str]
    values: Tensor
    """To which it writes the losses of these names, (number of them,)."""
    replay: Callable[[], None]
    compared: bool = False
    """Whether it has been found to do what the usual step does."""

    def run(self, inputs: Inputs) -> Values:
        """Compute the step for these inputs."""
        for own, given in zip(self.inputs, inputs, strict=True):
            torch._foreach_copy_(list(own.tensors.values()), list(given.tensors.values()))
        self.replay()
        return dict(zip(self.names, self.values.clone().unbind(), strict=True))

    def free(self) -> None:
        """Free its memory, whoever knows it. It cannot be run any more."""
        del self.inputs, self.values, self.replay


class Outcome(NamedTuple):
    """What a step has led to."""

    values: Values
    state: State


class GraphedSteps:
    """Computes steps, from recorded graphs where it can."""

    def __init__(
        self, compute: Compute, state: Callable[[], State], recorder: Recorder, precision: torch.dtype
    ) -> None:
        """`compute` is the usual step, and `state` returns what it changes."""
        self._compute, self._state, self._precision = compute, state, precision
        self._recorder: Recorder | None = recorder
        self._seen: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, Recorded] = {}

    @property
    def are_used(self) -> bool:
        """Whether steps are still recorded: none has failed, or was another one than the usual."""
        return self._recorder is not None

    def __call__(self, inputs: Inputs) -> Values:
        """Compute a step."""
        key = tuple(part.key for part in inputs)
        recorded = self._recorded.get(key)
        if self._recorder is None:
            return self._compute(inputs)
        if recorded is None:
            return self._warm_up(key, inputs, self._recorder)
        if not recorded.compared:
            return self._compare(recorded, inputs, self._recorder)
        return recorded.run(inputs)

    def _warm_up(self, key: Hashable, inputs: Inputs, recorder: Recorder) -> Values:
        """Compute the usual step; after the last of the warm-up, record the next one.

        Its inputs, learning rate and average will then be other ones than those with which it was recorded.
        """
        values = self._usual(inputs, recorder)
        self._seen[key] += 1
        if self._recorder and self._seen[key] >= WARM_UP_STEPS and len(self._recorded) < MAX_GRAPHS:
            before = self._copied_state()
            try:
                self._recorded[key] = self._record(list(values), inputs, recorder)
            except Exception as error:
                log.debug("recording failed", exc_info=True)
                self._give_up(f"recording failed: {error}")
            self._restore(before)
        return values

    def _usual(self, inputs: Inputs, recorder: Recorder) -> Values:
        """Compute the usual step; where there is no memory for it beside that of graphs, it takes theirs."""
        if not self._recorded:
            return recorder.warm_up(partial(self._compute, inputs))
        before = self._copied_state()
        try:
            return recorder.warm_up(partial(self._compute, inputs))
        except torch.OutOfMemoryError as error:
            reason = str(error)
        self._give_up(f"there is no memory for usual steps beside recorded ones: {reason}")
        self._restore(before)
        return self._compute(inputs)

    def _record(self, names: list[str], inputs: Inputs, recorder: Recorder) -> Recorded:
        own = [part.clone() for part in inputs]
        values, replay = recorder.record(lambda: torch.stack([*self._compute(own).values()]))
        return Recorded(own, names, values, replay)

    def _compare(self, recorded: Recorded, inputs: Inputs, recorder: Recorder) -> Values:
        """Compute the usual step twice and the recorded one, all from the present state; it is kept if it agrees.

        If not, or if anything fails, the usual step is taken.
        """
        before = self._copied_state()
        try:
            usual = [self._outcome(partial(recorder.warm_up, partial(self._compute, inputs)), before) for _ in range(2)]
            found = self._outcome(partial(recorded.run, inputs), before)
            complaint = disagreement(before, usual, found, TOLERANCES[self._precision])
        except Exception as error:
            log.debug("a recorded step failed", exc_info=True)
            complaint = str(error)
        if complaint:
            self._give_up(f"a recorded step is not the usual one: {complaint}")
            self._restore(before)
            return self._compute(inputs)
        recorded.compared = True
        self._restore(found.state)
        return found.values

    def _give_up(self, reason: str) -> None:
        """Free what graphs hold, so that it is there for usual steps."""
        self._recorder = None
        for recorded in self._recorded.values():
            recorded.free()
        self._recorded.clear()
        log.warning("CUDA graphs are not used, and training is slower: %s", reason)

    def _outcome(self, work: Callable[[], Values], before: State) -> Outcome:
        self._restore(before)
        return Outcome(work(), self._copied_state())

    def _copied_state(self) -> State:
        return {name: [tensor.detach().clone() for tensor in tensors] for name, tensors in self._state().items()}

    @torch.no_grad()
    def _restore(self, state: State) -> None:
        for name, tensors in self._state().items():
            for tensor, value in zip(tensors, state[name], strict=True):
                tensor.copy_(value)


def disagreement(before: State, usual: Sequence[Outcome], found: Outcome, tolerance: Tolerance) -> str:
    """In what a step differs from two usual ones by more than it may, in words; empty where it agrees."""
    expected, again = usual
    least = 1e-3 * max(abs(value.item()) for value in expected.values.values())
    for name, value in expected.values.items():
        scale = max(abs(value.item()), least)
        noise, error = (abs((other.values[name] - value).item()) / scale for other in (again, found))
        if not error <= tolerance.loss + NOISE_FACTOR * noise:
            return f"{name} is {found.values[name].item():.6g} instead of {value.item():.6g}"
    for name, tensors in expected.state.items():
        scale = distance(tensors, before[name]) or 1.0
        noise, error = (distance(tensors, other.state[name]) / scale for other in (again, found))
        if not error <= min(MOST_DIFFERENT, tolerance.change + NOISE_FACTOR * noise):
            return f"its {name} differ by {error:.2g} of what a step changes"
    return ""


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The Euclidean distance of two lists of tensors of the same shapes."""
    squares = [(a.double() - b.double()).square().sum() for a, b in zip(one, other, strict=True)]
    return torch.stack(squares).sum().sqrt().item() if squares else 0.0


def recorder_of(network: nn.Module, device: torch.device, *, wanted: bool, processes: int) -> Recorder | None:
    """What records the steps of a network in training.

    None where they are computed as usual: on a CPU, where graphs are not `wanted`, by several processes, which exchange
    gradients in each step, and where gradients have hooks.
    """
    if device.type != "cuda" or not wanted or processes > 1:
        return None
    if any(_has_hooks(parameter) for parameter in network.parameters()):
        log.warning("CUDA graphs are not used, and training is slower: gradients have hooks")
        return None
    return CudaRecorder(device)


def _has_hooks(parameter: nn.Parameter) -> bool:
    return any(getattr(parameter, name, None) for name in ("_backward_hooks", "_post_accumulate_grad_hooks"))
