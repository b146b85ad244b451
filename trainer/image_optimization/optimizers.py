"""Optimizers for one image with values in [0, 1]: L-BFGS with and without a line search, and Adam.

An iteration gives one new image. An evaluation computes the objective and its gradient once: a forward and a backward
pass of the loss network. An iteration takes one evaluation or more; `evaluations` counts them.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Objective = Callable[[Tensor], Mapping[str, Tensor]]
"""Image (1, 3, H, W) in [0, 1] → the weighted terms whose sum is minimised."""

MEMORY = 20
"""Pairs of differences, of images and of gradients, that L-BFGS keeps by default."""

SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9
"""Constants c1 and c2 of the Wolfe conditions, the usual ones of quasi-Newton methods (Nocedal & Wright 2006, §3.1)."""

MAX_TRIALS = 20
"""Most evaluations in one line search; then the lowest point found is taken."""

FIRST_STEP = 0.1
"""Largest change of a value in the first trial along the negative gradient, when L-BFGS has no pairs yet."""


@dataclass(frozen=True)
class Point:
    """An image with the objective's terms and gradient there."""

    image: Tensor
    gradient: Tensor
    terms: Mapping[str, float]

    @property
    def value(self) -> float:
        """The objective: the sum of the terms, correctly rounded, so that their order does not matter."""
        return math.fsum(self.terms.values())

    @classmethod
    def of(cls, objective: Objective, image: Tensor) -> "Point":
        """Evaluate the objective and its gradient at a copy of the image."""
        variable = image.detach().clone().requires_grad_()
        terms = objective(variable)
        (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), variable)
        return cls(variable.detach(), gradient, {name: term.item() for name, term in terms.items()})


class Optimizer(Protocol):
    """An iterative method whose state can be saved after any iteration and restored exactly."""

    point: Point
    evaluations: int

    def step(self) -> bool:
        """Do one iteration. Returns False, with `point` unchanged, where no lower point was found."""

    def state(self) -> dict[str, Any]:
        """The state as tensors and plain values, which torch.load accepts with weights_only."""

    def restore(self, state: dict[str, Any], /) -> None:
        """Continue from a state of the same method, on the device of the present image."""


class ProjectedLBFGS:
    """L-BFGS with bounds [0, 1] (Nocedal & Wright 2006, algorithm 7.4; active set as in Bertsekas 1982).

    Values at a bound that the negative gradient points beyond are kept fixed; the others follow L-BFGS's direction; the
    line search is along the clipped path. Every iteration lowers the objective.
    """

    def __init__(self, objective: Objective, image: Tensor, memory: int = MEMORY) -> None:
        self._objective = objective
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
        self.point = Point.of(objective, image.clamp(0, 1))
        self.evaluations = 1

    def step(self) -> bool:
        found = self._line_search(self._direction())
        if found is None and self._pairs:  # forget the curvature and try the gradient's direction
            self._pairs.clear()
            found = self._line_search(self._direction())
        if found is None:
            return False
        pair = found.image - self.point.image, found.gradient - self.point.gradient
        if _curves_upwards(*pair):
            self._pairs.append(pair)
        self.point = found
        return True

    def state(self) -> dict[str, Any]:
        return {"point": asdict(self.point), "evaluations": self.evaluations, "pairs": list(self._pairs)}

    def restore(self, state: dict[str, Any]) -> None:
        device = self.point.image.device
        self.point, self.evaluations = _point(state["point"], device), state["evaluations"]
        self._pairs.clear()
        self._pairs.extend((s.to(device), y.to(device)) for s, y in state["pairs"])

    def _direction(self) -> Tensor:
        """The descent direction of the two-loop recursion (algorithm 7.4), zero where a value is kept fixed.

        s and y are differences of images and of gradients, as in the book.
        """
        image, gradient = self.point.image, self.point.gradient
        free = ~(((image <= 0) & (gradient > 0)) | ((image >= 1) & (gradient < 0)))
        pairs = [(s * free, y * free) for s, y in self._pairs]
        pairs = [pair for pair in pairs if _curves_upwards(*pair)]
        direction = -gradient * free
        if not pairs:
            return direction * (FIRST_STEP / direction.abs().max().clamp_min(torch.finfo(direction.dtype).tiny))
        alphas = []
        for s, y in reversed(pairs):
            alphas.append(_dot(s, direction) / _dot(s, y))
            direction -= alphas[-1] * y
        s, y = pairs[-1]
        direction *= _dot(s, y) / _dot(y, y)
        for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
            direction += (alpha - _dot(y, direction) / _dot(s, y)) * s
        return direction

    def _line_search(self, direction: Tensor) -> Point | None:
        """A point on the clipped path that meets the strong Wolfe conditions, by bisection.

        Where MAX_TRIALS evaluations find none, the lowest point with sufficient decrease; None without such a point.
        """
        slope = _dot(self.point.gradient, direction)
        low, high, length, best = 0.0, math.inf, 1.0, None
        for _ in range(MAX_TRIALS if slope < 0 else 0):
            beyond = self.point.image + length * direction
            found = self._evaluate(beyond.clamp(0, 1))
            if not self._sufficiently_lower(found):
                high = length
            else:
                best = found if best is None or found.value < best.value else best
                ahead = _dot(found.gradient, direction * (found.image == beyond))
                if abs(ahead) <= CURVATURE * abs(slope):
                    return found
                low, high = (length, high) if ahead < 0 else (low, length)
            length = 2 * low if math.isinf(high) else (low + high) / 2
        return best

    def _sufficiently_lower(self, found: Point) -> bool:
        """The first Wolfe condition; false where the objective is NaN."""
        expected = _dot(self.point.gradient, found.image - self.point.image)
        return found.value < self.point.value and found.value <= self.point.value + SUFFICIENT_DECREASE * expected

    def _evaluate(self, image: Tensor) -> Point:
        self.evaluations += 1
        return Point.of(self._objective, image)


class ClippedLBFGS:
    """The paper's L-BFGS (§4.1): steps of length 1 without a line search, the image clipped to [0, 1] after each.

    An iteration takes one evaluation and may raise the objective. Its pairs combine unclipped steps with
    gradients at clipped images.
    """

    def __init__(self, objective: Objective, image: Tensor, memory: int = MEMORY) -> None:
        self._objective = objective
        self._buffer = torch.empty_like(image)
        self._variable = nn.Parameter(image.detach().clamp(0, 1).contiguous())  # torch's L-BFGS uses view(-1)
        self._lbfgs = torch.optim.LBFGS(
            [self._variable], lr=1, max_iter=1, history_size=memory, tolerance_grad=0, tolerance_change=0
        )
        self.point = self._evaluate()
        self.evaluations = 1

    def step(self) -> bool:
        self._variable.grad = self.point.gradient.contiguous()
        self._lbfgs.step(lambda: self.point.value)
        with torch.no_grad():
            self._variable.clamp_(0, 1)
        self.point = self._evaluate()
        self.evaluations += 1
        return True

    def state(self) -> dict[str, Any]:
        return {"point": asdict(self.point), "evaluations": self.evaluations, "lbfgs": self._lbfgs.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.point, self.evaluations = _point(state["point"], self._variable.device), state["evaluations"]
        with torch.no_grad():
            self._variable.copy_(self.point.image)
        self._lbfgs.load_state_dict(state["lbfgs"])

    def _evaluate(self) -> Point:
        return Point.of(self._objective, self._buffer.copy_(self._variable.detach()))


class ProjectedAdam:
    """Adam (Kingma & Ba 2015), the image clipped to [0, 1] after each iteration, which may raise the objective."""

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


def _curves_upwards(s: Tensor, y: Tensor) -> bool:
    """The curvature condition of an L-BFGS update, s · y > ε |y|²."""
    return _dot(s, y) > torch.finfo(y.dtype).eps * _dot(y, y)
