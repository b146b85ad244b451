"""From what a client asks for to what the pipeline carries out: models are looked up, the timeout is set."""

from dataclasses import dataclass, field, replace
from time import monotonic

from service.engine.deadline import Deadline
from service.engine.priority import Priority
from service.errors import InvalidRequest
from service.imaging.codecs import OutputSpec
from service.imaging.masks import MaskMeaning
from service.models.selection import ModelSelection
from service.models.served_model import ServedModel
from service.pipeline.operation import Operation
from service.pipeline.requests import ImageRequest, StylizeRequest
from service.pipeline.stylize import Stylize
from service.pipeline.upscale import Upscale
from service.settings import Settings


@dataclass(frozen=True)
class Timeout:
    """How long a client waits for an answer, and how urgently. Times are those of `time.monotonic`."""

    default: float
    """Seconds for a client that names none, counted from admission."""
    named: float | None = None
    """Seconds that the client has named, counted from `arrived`: when the request was resolved."""
    priority: Priority = Priority.INTERACTIVE
    arrived: float = field(default_factory=monotonic)
    grace: float = 0.0
    """Seconds by which an answer may be late, once it was admitted, for a client that names no timeout."""
    admitted_before: bool = False
    """See `Deadline`."""

    @property
    def seconds(self) -> float:
        """The timeout that applies."""
        return self.named or self.default

    @property
    def longest(self) -> float:
        """Seconds after which the answer is given up."""
        return self.named or self.default + self.grace

    def deadline(self) -> Deadline:
        """That of a request that is admitted now."""
        begin = self.arrived if self.named else monotonic()
        grace = 0.0 if self.named else self.grace
        return Deadline(begin + self.seconds, self.priority, self.named is None, grace, self.admitted_before)


@dataclass(frozen=True)
class ResolvedRequest:
    """What is done with one image: by which models, until when, into which file."""

    operation: Operation
    timeout: Timeout
    output: OutputSpec
    mask: bytes | None = None
    """The file of the mask; None: the whole image is processed."""
    mask_meaning: MaskMeaning = MaskMeaning.WHITE
    """What of the mask is processed."""

    @property
    def model(self) -> ServedModel:
        """The most important model that takes part: the first of a chain, the heaviest of a mixture."""
        return self.operation.models[0]

    def without_compression(self) -> "ResolvedRequest":
        """The same into a file, a TIFF, whose pixels can be taken out as they are."""
        return replace(self, output=replace(self.output, compressed=False))


def resolve(
    request: ImageRequest,
    models: ModelSelection,
    settings: Settings,
    mask: bytes | None = None,
    default_timeout: float | None = None,
    *,
    admitted_before: bool = False,
) -> ResolvedRequest:
    """Look up what a request names.

    `default_timeout` (seconds) overrides that of the settings, and what comes after it is given up; `admitted_before`:
    see `Deadline`. Without either an answer that was admitted is given up when the longest timeout is over.

    Raises InvalidRequest for more time than is allowed and for malformed mixtures, UnknownModel, ModelUnavailable.
    """
    most = settings.max_request_timeout
    if request.timeout is not None and request.timeout > most:
        raise InvalidRequest(f"X-Request-Timeout is {request.timeout:.12g}; at most {most:.12g} seconds are accepted")
    default = settings.request_timeout if default_timeout is None else default_timeout
    grace = max(0.0, most - default) if default_timeout is None else 0.0
    timeout = Timeout(
        default, request.timeout, request.parameters.priority, grace=grace, admitted_before=admitted_before
    )
    output = request.parameters.output_spec(request.formats)
    return ResolvedRequest(_operation(request, models), timeout, output, mask, request.mask_meaning)


def _operation(request: ImageRequest, models: ModelSelection) -> Operation:
    if isinstance(request, StylizeRequest):
        return Stylize.resolve(models, request.style, request.parameters.stylize_options)
    return Upscale.resolve(models, request.scale, request.parameters.upscale_options)
