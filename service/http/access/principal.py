"""Who sends a request."""

from dataclasses import dataclass, field

from service.http.access.api_key import LimitPolicy, Right
from service.http.access.quota import Quota
from service.jobs.job import Owner


@dataclass(frozen=True, eq=False)
class Principal:
    """Who sends a request: the holder of a key, or an address."""

    name: str = ""
    """That of the key; empty where there is none."""
    network: str = ""
    """Where there is no key: the address, or the part of it that counts."""
    rights: frozenset[Right] = frozenset()
    quota: Quota = field(default_factory=lambda: Quota(LimitPolicy()))

    @property
    def job_owner(self) -> Owner:
        """Whose jobs this principal's are."""
        return Owner(self.name or self.network, self.quota.policy.unfinished_jobs)
