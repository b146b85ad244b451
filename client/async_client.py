"""The client of a service, for programs with asyncio."""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self, Unpack

import httpx

from client.address import key_headers, parse_address
from client.answers import Estimate, Health, JobStatus, ModelDetails, ModelSummary
from client.calls import Calls, Task
from client.flow import Flow, Pause, Reply, Send, T
from client.image_input import ImageInput, read_image
from client.options import CallOptions, Style, StylizeOptions, UpscaleOptions
from client.picture import Picture
from client.retries import RetryPolicy


class AsyncClient:
    """Calls a service. Tasks of one event loop may share one; its connections are used again.

    Calls raise PasticheError. A busy service is asked again, and one that is away is waited for: see RetryPolicy.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`url` may have a path, the prefix of a proxy. `key`: an API key of the service.

        `timeout`: seconds after which an image is of no use, for all images whose calls name none, and not for jobs;
        None: the service decides.
        `verify`, `transport`: as httpx has them. `sleep` waits between attempts. Raises ValueError for a URL that is
        none of a server, and for a key that no header can have.
        """
        self.calls = Calls(retry or RetryPolicy(), timeout)
        self._sleep = sleep
        headers = key_headers(key)
        self._http = httpx.AsyncClient(base_url=parse_address(url), headers=headers, verify=verify, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def stylize(
        self,
        image: ImageInput,
        style: Style,
        *,
        mask: ImageInput | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 # the service ends the work then
        **options: Unpack[StylizeOptions],
    ) -> Picture:
        """Paint an image in a style, or in several: `{"great-wave": 0.7, "the-scream": 0.3}`.

        White parts of `mask` are painted, black ones stay as they are. `options` are those of the service.
        """
        painted = None if mask is None else await asyncio.to_thread(read_image, mask)
        return await self.run(
            self.calls.stylize(await asyncio.to_thread(read_image, image), style, painted, timeout, options)
        )

    async def upscale(
        self,
        image: ImageInput,
        scale: float,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **options: Unpack[UpscaleOptions],
    ) -> Picture:
        """Enlarge an image to `scale` times its sides, or to a size below that."""
        return await self.run(self.calls.upscale(await asyncio.to_thread(read_image, image), scale, timeout, options))

    async def estimate(
        self,
        width: int,
        height: int,
        /,
        *,
        style: Style | None = None,
        scale: float | None = None,
        frames: int = 1,
        depth: int = 8,
        timeout: float | None = None,  # noqa: ASYNC109 # the service ends the work then
        **options: Unpack[CallOptions],
    ) -> Estimate:
        """What a call with an image of that size would cost, and whether it would be accepted now.

        `width` and `height` by name are, as in `upscale`, those of the answer.
        """
        image = {"width": width, "height": height, "frames": frames, "depth": depth}
        return await self.run(self.calls.estimate(Task.of(style, scale, options), image, timeout))

    async def models(self) -> list[ModelSummary]:
        """The networks of the service."""
        return await self.run(self.calls.models())

    async def model(self, name: str) -> ModelDetails:
        """One network with its manifest. Raises UnknownModel."""
        return await self.run(self.calls.model(name))

    async def card(self, name: str) -> str:
        """The model card of a network, Markdown."""
        return await self.run(self.calls.card(name))

    async def preview(self, name: str) -> Picture:
        """A picture of what a network does. Raises NotFound where it has none."""
        return await self.run(self.calls.preview(name))

    async def health(self) -> Health:
        """Whether the process of the service works. Asked once."""
        return await self.run(self.calls.probe("/livez"))

    async def ready(self) -> Health:
        """Whether the service answers requests, and with which networks. Asked once."""
        return await self.run(self.calls.probe("/readyz"))

    async def submit(
        self,
        image: ImageInput,
        *,
        style: Style | None = None,
        scale: float | None = None,
        id: str | None = None,  # noqa: A002 # as the service has it
        mask: ImageInput | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        callback_url: str | None = None,
        **options: Unpack[CallOptions],
    ) -> "AsyncJob":
        """Begin a job, which the service carries out whether this program waits for it or not.

        With an `id` of the caller's own, submitting the same image and options again is the same job, and other ones
        are a Conflict. `callback_url` is told when the job has ended.
        """
        painted = None if mask is None else await asyncio.to_thread(read_image, mask)
        task = Task.of(style, scale, options)
        begun = await self.run(
            self.calls.submit(await asyncio.to_thread(read_image, image), task, id, painted, timeout, callback_url)
        )
        return self.job(begun.id)

    def job(self, id: str) -> "AsyncJob":  # noqa: A002
        """A job that was begun earlier. Nothing is asked yet."""
        return AsyncJob(id, self)

    async def run(self, flow: Flow[T]) -> T:
        """Do what a flow wants, and return its result."""
        reply: Reply = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = await self._take(step)

    async def _take(self, step: Send | Pause) -> Reply:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        try:
            return await self._http.send(step.request.build(self._http, step.seconds))
        except httpx.RequestError as error:
            return error


class AsyncJob:
    """A job of the service. Iterating over it gives its states, each as soon as it changes, up to the last."""

    def __init__(self, id: str, client: AsyncClient) -> None:  # noqa: A002
        self.id = id
        self._client = client

    def __aiter__(self) -> AsyncIterator[JobStatus]:
        return self._states(math.inf)

    async def status(self) -> JobStatus:
        """Its state now. Raises UnknownJob."""
        return await self._client.run(self._client.calls.job_status(self.id))

    async def wait(
        self,
        progress: Callable[[JobStatus], object] | None = None,
        timeout: float = math.inf,  # noqa: ASYNC109
    ) -> JobStatus:
        """Its last state, when it has ended; `progress` is called with each state.

        Raises TimeoutError where that takes longer than `timeout` seconds; the job goes on.
        """
        async for status in self._states(timeout):
            if progress is not None:
                progress(status)
        return status

    async def result(
        self,
        progress: Callable[[JobStatus], object] | None = None,
        timeout: float = math.inf,  # noqa: ASYNC109
    ) -> Picture:
        """The image, as soon as it is there. Raises the Problem of a job that failed, and what `wait` raises."""
        status = await self.wait(progress, timeout)
        if status.failure is not None:
            raise status.failure
        return await self._client.run(self._client.calls.job_result(self.id))

    async def cancel(self) -> None:
        """End the job, and delete its result. One that is gone already stays so."""
        await self._client.run(self._client.calls.cancel_job(self.id))

    async def _states(self, seconds: float) -> AsyncIterator[JobStatus]:
        calls = self._client.calls
        end = calls.policy.clock() + seconds
        status = await self._client.run(calls.job_status(self.id, end))
        yield status
        while not status.ended:
            status = await self._client.run(calls.next_status(status, end))
            yield status
