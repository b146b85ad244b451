"""Minimisers of an objective of one image: L-BFGS, in our form and in Gatys', and Adam, on images in [0, 1].

An iteration is one new image. What it costs are evaluations: the objective and its gradient, once each, which is a
forward and a backward pass of the loss network. Both are counted.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Objective = Callable[[Tensor], Mapping[str, Tensor]]
"""RGB (1, 3, H, W) in [0, 1] → the weighted terms whose sum is minimised."""

MEMORY = 20
"""Differences of images and of gradients that L-BFGS keeps."""

DECREASE, CURVATURE = 1e-4, 0.9
"""Of the Wolfe conditions, as is usual for quasi-Newton methods (Nocedal & Wright 2006, §3.1)."""

TRIALS = 20
"""Evaluations in one line search, after which the lowest point found is taken."""

FIRST_CHANGE = 0.1
"""Largest change of a value in the first trial along the negative gradient, before any curvature is known."""


@dataclass(frozen=True)
class Point:
    """An image, and the objective there."""

    image: Tensor
    gradient: Tensor
    terms: Mapping[str, float]

    @property
    def value(self) -> float:
        """The objective: the sum of the terms, exact in the order of none of them."""
        return math.fsum(self.terms.values())

    @classmethod
    def of(cls, objective: Objective, image: Tensor) -> "Point":
        """Evaluate the objective and its gradient at an image, which is not changed."""
        variable = image.detach().clone().requires_grad_()
        terms = objective(variable)
        (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), variable)
        return cls(variable.detach(), gradient, {name: term.item() for name, term in terms.items()})


class Minimiser(Protocol):
    """One of the methods below; its state can be saved after any iteration and restored exactly."""

    point: Point
    evaluations: int

    def step(self) -> bool:
        """One iteration; False, and nothing changed, where the method can do no better."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def restore(self, state: dict[str, Any], /) -> None:
        """Go on from a saved state."""


class ProjectedLBFGS:
    """L-BFGS on the box [0, 1] (Nocedal & Wright 2006, algorithm 7.4; held variables as Bertsekas 1982).

    The values at a bound that the gradient pushes outwards are held; the direction is that of L-BFGS for the others;
    the line search follows the clipped path. Each iteration lowers the objective, where Gatys' method, which clips
    after a step of fixed length, may raise it.
    """

    def __init__(self, objective: Objective, image: Tensor, memory: int = MEMORY) -> None:
        self._objective = objective
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
        self.point = Point.of(objective, image.clamp(0, 1))
        self.evaluations = 1

    def step(self) -> bool:
        found = self._lower(self._direction())
        if found is None and self._pairs:  # what was learned of the curvature no longer holds
            self._pairs.clear()
            found = self._lower(self._direction())
        if found is None:
            return False
        change, turn = found.image - self.point.image, found.gradient - self.point.gradient
        if _curved(change, turn):
            self._pairs.append((change, turn))
        self.point = found
        return True

    def state(self) -> dict[str, Any]:
        return {"point": asdict(self.point), "evaluations": self.evaluations, "pairs": list(self._pairs)}

    def restore(self, state: dict[str, Any]) -> None:
        device = self.point.image.device
        self.point, self.evaluations = _point(state["point"], device), state["evaluations"]
        self._pairs.clear()
        self._pairs.extend((change.to(device), turn.to(device)) for change, turn in state["pairs"])

    def _direction(self) -> Tensor:
        """Of descent: the two-loop recursion among the values that are not held."""
        image, gradient = self.point.image, self.point.gradient
        free = ~(((image <= 0) & (gradient > 0)) | ((image >= 1) & (gradient < 0)))
        pairs = [(change * free, turn * free) for change, turn in self._pairs]
        pairs = [pair for pair in pairs if _curved(*pair)]
        direction = -gradient * free
        if not pairs:
            return direction * (FIRST_CHANGE / direction.abs().max().clamp_min(torch.finfo(direction.dtype).tiny))
        shares = []
        for change, turn in reversed(pairs):
            shares.append(_dot(change, direction) / _dot(change, turn))
            direction -= shares[-1] * turn
        change, turn = pairs[-1]
        direction *= _dot(change, turn) / _dot(turn, turn)
        for (change, turn), share in zip(pairs, reversed(shares), strict=True):
            direction += (share - _dot(turn, direction) / _dot(change, turn)) * change
        return direction

    def _lower(self, direction: Tensor) -> Point | None:
        """A point on the clipped path that satisfies the strong Wolfe conditions, found by bisection.

        Where the path's kinks let none be found within TRIALS evaluations, the lowest point with sufficient decrease;
        None where there is no such point either.
        """
        slope = _dot(self.point.gradient, direction)
        low, high, length, best = 0.0, math.inf, 1.0, None
        for _ in range(TRIALS if slope < 0 else 0):
            beyond = self.point.image + length * direction
            found = self._evaluated(beyond.clamp(0, 1))
            if not self._decreased(found):
                high = length
            else:
                best = found if best is None or found.value < best.value else best
                ahead = _dot(found.gradient, direction * (found.image == beyond))
                if abs(ahead) <= CURVATURE * abs(slope):
                    return found
                low, high = (length, high) if ahead < 0 else (low, length)
            length = 2 * low if math.isinf(high) else (low + high) / 2
        return best

    def _decreased(self, found: Point) -> bool:
        """Whether the point is lower, by a share of what the gradient promises (false for a NaN)."""
        promised = _dot(self.point.gradient, found.image - self.point.image)
        return found.value < self.point.value and found.value <= self.point.value + DECREASE * promised

    def _evaluated(self, image: Tensor) -> Point:
        self.evaluations += 1
        return Point.of(self._objective, image)


class ClippedLBFGS:
    """L-BFGS as the paper has it: full steps without a line search, the image clipped to [0, 1] after each (§4.1).

    An iteration is one evaluation. The objective may rise, and the curvature that is learned is that of steps that
    clipping has changed.
    """

    def __init__(self, objective: Objective, image: Tensor, memory: int = MEMORY) -> None:
        self._objective = objective
        self._layout = torch.empty_like(image)
        self._variable = nn.Parameter(image.detach().clamp(0, 1).contiguous())  # torch's L-BFGS wants it flat
        self._lbfgs = torch.optim.LBFGS(
            [self._variable], lr=1, max_iter=1, history_size=memory, tolerance_grad=0, tolerance_change=0
        )
        self.point = self._evaluated()
        self.evaluations = 1

    def step(self) -> bool:
        self._variable.grad = self.point.gradient.contiguous()
        self._lbfgs.step(lambda: self.point.value)
        with torch.no_grad():
            self._variable.clamp_(0, 1)
        self.point = self._evaluated()
        self.evaluations += 1
        return True

    def state(self) -> dict[str, Any]:
        return {"point": asdict(self.point), "evaluations": self.evaluations, "lbfgs": self._lbfgs.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.point, self.evaluations = _point(state["point"], self._variable.device), state["evaluations"]
        with torch.no_grad():
            self._variable.copy_(self.point.image)
        self._lbfgs.load_state_dict(state["lbfgs"])

    def _evaluated(self) -> Point:
        return Point.of(self._objective, self._layout.copy_(self._variable.detach()))


class ProjectedAdam:
    """Adam (Kingma & Ba 2015) whose image is clipped to [0, 1] after each iteration; the objective may rise."""

    def __init__(self, objective: Objective, image: Tensor, learning_rate: float) -> None:
        self._objective = objective
        self._variable = nn.Parameter(image.detach().clamp(0, 1))
        self._adam = torch.optim.Adam([self._variable], lr=learning_rate)
        self.point = Point.of(objective, self._variable)
        self.evaluations = 1

    def step(self) -> bool:
        self._variable.grad = self.point.gradient
        self._adam.step()
        with torch.no_grad():
            self._variable.clamp_(0, 1)
        self.point = Point.of(self._objective, self._variable)
        self.evaluations += 1
        return True

    def state(self) -> dict[str, Any]:
        return {"point": asdict(self.point), "evaluations": self.evaluations, "adam": self._adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.point, self.evaluations = _point(state["point"], self._variable.device), state["evaluations"]
        with torch.no_grad():
            self._variable.copy_(self.point.image)
        self._adam.load_state_dict(state["adam"])


def _point(saved: Mapping[str, Any], device: torch.device) -> Point:
    return Point(saved["image"].to(device), saved["gradient"].to(device), saved["terms"])


def _dot(one: Tensor, other: Tensor) -> float:
    return (one * other).sum().item()


def _curved(change: Tensor, turn: Tensor) -> bool:
    """Whether the objective curves upwards along a change, clearly enough for a quasi-Newton update."""
    return _dot(change, turn) > torch.finfo(turn.dtype).eps * _dot(turn, turn)
