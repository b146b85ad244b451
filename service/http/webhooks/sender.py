"""Sends the state of a job that has ended to its callback URL."""

import asyncio
import ssl
import time
from collections.abc import Mapping

import httpx

from service.errors import InvalidRequest
from service.http.job_status import JobStatus
from service.http.webhooks.address_policy import NO_ADDRESS, AddressPolicy, ForbiddenTarget
from service.http.webhooks.signature import signed_headers
from service.jobs.deliveries import DeliveryFailed
from service.jobs.job import Job
from service.settings import Settings
from service.telemetry.metrics import package_version

CALLBACK_HEADER = "X-Callback-URL"

MAX_ADDRESSES = 4
"""Addresses of a host that are tried, one after the other."""

GONE = 410


class WebhookSender:
    """Posts webhooks. It follows no redirect, uses no proxy, and reads no more of an answer than its head."""

    def __init__(self, settings: Settings, policy: AddressPolicy, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: by default with the certificates of SSL_CERT_FILE, else with certifi's."""
        self._keys = settings.webhook_keys
        self._seconds = settings.webhook_timeout
        self._kept_seconds = settings.job_seconds
        self._prefix = settings.root_path
        self._policy = policy
        self._tls = tls or httpx.create_ssl_context()

    async def check(self, url: str) -> None:
        """Raise InvalidRequest where webhooks would not be sent to that URL, as far as is known now."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._policy.addresses(self._policy.parse(url))
        except ForbiddenTarget as error:
            raise InvalidRequest(f"header.{CALLBACK_HEADER}: {error}") from error
        except OSError as error:  # also where the time is over
            raise InvalidRequest(f"header.{CALLBACK_HEADER}: {NO_ADDRESS}") from error

    async def send(self, job: Job) -> None:
        """Send the state of a job, as GET gives it, to its callback URL. Raises DeliveryFailed."""
        assert job.record.callback is not None
        body = JobStatus.of(job, self._kept_seconds, self._prefix).model_dump_json().encode()
        headers = signed_headers(self._keys, job.record.callback.message_id, int(time.time()), body)
        try:
            async with asyncio.timeout(self._seconds):
                status = await self._post(job.record.callback.url, body, headers)
        except ForbiddenTarget as error:
            raise DeliveryFailed("blocked", str(error)) from error
        except (OSError, httpx.HTTPError) as error:
            raise DeliveryFailed("unreachable", f"{type(error).__name__}: {error}") from error
        if not 200 <= status < 300:
            raise DeliveryFailed("refused", f"status {status}", final=status == GONE)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer, of the first address that can be reached."""
        target = self._policy.parse(url)
        addresses = (await self._policy.addresses(target))[:MAX_ADDRESSES]
        fields = {"Host": target.netloc.decode(), "Content-Type": "application/json", **headers}
        for address in addresses[:-1]:
            try:
                return await self._post_to(address, target, body, fields, self._seconds / len(addresses))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post_to(addresses[-1], target, body, fields, self._seconds)

    async def _post_to(
        self, address: str, target: httpx.URL, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> int:
        """Post to that address, whatever the name of the host means by now. The certificate must be the host's."""
        client = httpx.AsyncClient(
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(self._seconds, connect=seconds),
            headers={"User-Agent": f"pastiche/{package_version()}"},
        )
        url, extensions = target.copy_with(host=address), {"sni_hostname": target.raw_host.decode()}
        async with client, client.stream("POST", url, content=body, headers=headers, extensions=extensions) as response:
            return response.status_code
