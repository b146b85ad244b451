"""Places for the webhooks that are sent at the same time, of which no receiver and no owner of jobs has all.

A receiver that answers slowly holds each of its places for as long as an attempt may take.
"""

from collections import Counter
from dataclasses import dataclass

from service.jobs.record import JobRecord

PLACES = 32
"""Webhooks that are sent at the same time."""

PLACES_OF_A_HOST = 4
"""Of these, to one host."""

PLACES_OF_AN_OWNER = 8
"""Of these, for jobs of one owner, who may name many hosts."""


@dataclass(frozen=True)
class FullPlaces:
    """Whose webhooks wait until one of theirs has ended."""

    hosts: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()

    def concern(self, record: JobRecord) -> bool:
        """Whether the webhook of a job must wait."""
        return record.owner in self.owners or _host(record) in self.hosts


class DeliveryPlaces:
    """Who has how many of the places."""

    def __init__(self) -> None:
        self._hosts: Counter[str] = Counter()
        self._owners: Counter[str] = Counter()

    @property
    def full(self) -> FullPlaces:
        """Who gets no further place now."""
        return FullPlaces(_with(self._hosts, PLACES_OF_A_HOST), _with(self._owners, PLACES_OF_AN_OWNER))

    def take(self, record: JobRecord) -> None:
        """The webhook of a job is under way."""
        self._hosts[_host(record)] += 1
        self._owners[record.owner] += 1

    def free(self, record: JobRecord) -> None:
        """It is no more."""
        self._hosts -= Counter([_host(record)])
        self._owners -= Counter([record.owner])


def _with(places: Counter[str], count: int) -> frozenset[str]:
    return frozenset(name for name, taken in places.items() if taken >= count)


def _host(record: JobRecord) -> str:
    return record.callback.host if record.callback is not None else ""
