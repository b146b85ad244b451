"""ASGI middleware: who sends a request, what that principal may do, and whether it has used up its quota."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Forbidden, NotFound, ServiceError, Unauthorized
from service.http.access.address_quotas import AddressQuotas, client_network
from service.http.access.api_key import Right
from service.http.access.credentials import presented_key
from service.http.access.key_ring import KeyRing
from service.http.access.principal import Principal
from service.http.probes import PROBES
from service.http.problems import Problems
from service.http.root_path import route_path
from service.pipeline.trace import Trace
from service.telemetry.metrics import Metrics

PAGE_FILES = "/playground/"
"""Files in memory, the same for everybody: answered like probes, so that loading the page uses up no limit."""

OPEN = frozenset({"/", "/docs", "/openapi.json"})
OPEN_PREFIXES = ("/problems", "/static-offline-docs/")
"""Answered without a key: what the API is, not what this service has."""

METRICS = "/metrics"
ADMIN = "/v1/admin"


@dataclass(frozen=True)
class AccessPolicy:
    """Who may do what."""

    keys: KeyRing | None
    """None: the service is open, except for administration."""
    addresses: AddressQuotas
    """The quotas of clients without a key."""
    key_required: bool = True
    """Whether, where there are keys, a client without one is refused."""

    @property
    def keyless_rights(self) -> frozenset[Right]:
        """What a client without a key may do."""
        if self.keys is None:
            return frozenset({Right.USE, Right.METRICS})
        return frozenset() if self.key_required else frozenset({Right.USE})

    @property
    def has_admin(self) -> bool:
        """Whether anybody may administer."""
        return self.keys is not None and self.keys.has_admin

    def identify(self, scope: Scope) -> tuple[Principal, bool]:
        """Who sends a request, and whether it brought a key that is not accepted."""
        key = presented_key(scope["headers"]) if self.keys is not None else None
        known = self.keys.find(key) if self.keys is not None and key is not None else None
        if known is not None:
            return known, False
        network = client_network(scope["client"][0])
        quota = self.addresses.find(network)
        return Principal(network=network, rights=self.keyless_rights, quota=quota), key is not None


class AccessControl:
    """Routes find the principal at `request.state.principal`."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy, problems: Problems, metrics: Metrics) -> None:
        self._app = app
        self._policy = policy
        self._problems = problems
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (path := route_path(scope)) in PROBES or path.startswith(PAGE_FILES):
            scope["state"]["principal"] = Principal()
            await self._app(scope, receive, send)
        else:
            principal, unknown_key = self._policy.identify(scope)
            self._record(scope, principal)
            await self._limited(principal, self._refusal(path, principal, unknown_key), scope, receive, send)

    async def _limited(
        self, principal: Principal, refusal: ServiceError | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer within the principal's quota: with the refusal, where there is one. What is refused counts, too."""

        async def send_with_quota(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *principal.quota.headers()]
            await send(message)

        try:
            principal.quota.enter()
        except ServiceError as exceeded:
            await self._problems.response(scope, exceeded)(scope, receive, send_with_quota)
            return
        try:
            app = self._app if refusal is None else self._problems.response(scope, refusal)
            await app(scope, receive, send_with_quota)
        finally:
            principal.quota.leave()

    def _record(self, scope: Scope, principal: Principal) -> None:
        scope["state"]["principal"] = principal
        if principal.name:
            trace: Trace = scope["state"]["trace"]
            trace.key = principal.name
            self._metrics.key_requests.labels(principal.name).inc()

    def _refusal(self, path: str, principal: Principal, unknown_key: bool) -> ServiceError | None:
        """Why the principal may not have what is at the path; None where it may."""
        right = needed_right(path)
        if right is Right.ADMIN and not self._policy.has_admin:
            return NotFound("no API key has the right 'admin', and nothing is administered over HTTP without one")
        if right is None or (right in principal.rights and not unknown_key):
            return None
        if principal.name:
            return Forbidden(
                f"the key of {principal.name!r} does not have the right {right.value!r}", right=right.value
            )
        how = "send one as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'"
        if unknown_key:
            return Unauthorized(f"the API key is not known here; {how}", error="invalid_token")
        return Unauthorized(f"there is no API key; {how}")


def needed_right(path: str) -> Right | None:
    """The right that a path needs; None where it needs no key."""
    if path in OPEN or path.startswith(OPEN_PREFIXES):
        return None
    if path == METRICS:
        return Right.METRICS
    return Right.ADMIN if path == ADMIN or path.startswith(f"{ADMIN}/") else Right.USE
