"""What a worker is asked to do, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.errors import ServiceError


@dataclass(frozen=True)
class Budget:
    """What a task may use at the most."""

    seconds: float
    """Of processor time, all threads together; counted in whole ones."""
    memory: int
    """Bytes of address space, beside what an idle worker has."""
    purpose: str = "decode"
    """What it is used for, in the words of the message to the client."""
    is_small: bool = True
    """Whether the task is expected to be short."""
    is_long: bool = False
    """Whether it is expected to be long, and so runs at low priority from its beginning."""


@dataclass(frozen=True)
class CodecTask:
    """A call of a function of a module, which the worker imports. Arguments and result can be pickled."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    budget: Budget


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended: by a value, by a failure that the client is told of, without memory, or by a defect."""

    value: Any = None
    failure: ServiceError | None = None
    out_of_memory: bool = False
    defect: str = ""
    """The traceback of an exception that nobody foresaw."""
