"""ASGI middleware: who sends a request, what that client may do, and whether it has used up its limits."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Forbidden, NotFound, ServiceError, Unauthorized
from service.http.access.address_limits import AddressLimits
from service.http.access.api_key import Right
from service.http.access.credentials import presented_key
from service.http.access.key_ring import Client, KeyRing
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
    addresses: AddressLimits
    """The limits of clients without a key."""
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

    def identify(self, scope: Scope) -> tuple[Client, bool]:
        """Who sends a request, and whether it brought a key that is not accepted."""
        key = presented_key(scope["headers"]) if self.keys is not None else None
        known = self.keys.find(key) if self.keys is not None and key is not None else None
        if known is not None:
            return known, False
        limits = self.addresses.find(scope["client"][0])
        return Client(rights=self.keyless_rights, limits=limits), key is not None


class AccessControl:
    """Routes find the Client at `request.state.client`."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy, problems: Problems, metrics: Metrics) -> None:
        self._app = app
        self._policy = policy
        self._problems = problems
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (path := route_path(scope)) in PROBES or path.startswith(PAGE_FILES):
            scope["state"]["client"] = Client()
            await self._app(scope, receive, send)
        else:
            client, unknown_key = self._policy.identify(scope)
            self._record(scope, client)
            await self._limited(client, self._refusal(path, client, unknown_key), scope, receive, send)

    async def _limited(
        self, client: Client, refusal: ServiceError | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer within the client's limits: with the refusal, where there is one. What is refused counts, too."""

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *client.limits.headers()]
            await send(message)

        try:
            client.limits.enter()
        except ServiceError as exceeded:
            await self._problems.response(scope, exceeded)(scope, receive, send_with_limits)
            return
        try:
            app = self._app if refusal is None else self._problems.response(scope, refusal)
            await app(scope, receive, send_with_limits)
        finally:
            client.limits.leave()

    def _record(self, scope: Scope, client: Client) -> None:
        scope["state"]["client"] = client
        if client.name:
            trace: Trace = scope["state"]["trace"]
            trace.key = client.name
            self._metrics.key_requests.labels(client.name).inc()

    def _refusal(self, path: str, client: Client, unknown_key: bool) -> ServiceError | None:
        """Why the client may not have what is at the path; None where it may."""
        right = needed_right(path)
        if right is Right.ADMIN and not self._policy.has_admin:
            return NotFound("no API key has the right 'admin', and nothing is administered over HTTP without one")
        if right is None or (right in client.rights and not unknown_key):
            return None
        if client.name:
            return Forbidden(f"the key of {client.name!r} does not have the right {right.value!r}", right=right.value)
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
