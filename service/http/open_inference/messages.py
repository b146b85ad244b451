"""The messages of the Open Inference Protocol as JSON; their members have the protocol's names."""

from typing import Annotated, Any, Literal, Self

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ServiceError
from service.http.message_validation import invalid_request
from service.http.problems import failure_headers
from service.models.served_model import ServedModel
from service.telemetry.metrics import package_version

IMAGE = "image"
"""The one tensor that a model gets, and the one that it gives."""

PIXELS, FILES = "UINT8", "BYTES"
"""The types of its values: RGB pixels, or files."""

CHANNELS = 3

MAX_NAME = 100

MAX_INTEGER = 2**63 - 1
"""The protocol's integers have 64 bits; Python's of JSON can be too large for arithmetic with floats, and for text."""

ANY = -1
"""A dimension of any length."""


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str = "pastiche"
    version: str = Field(default_factory=package_version)
    extensions: list[str] = ["binary_tensor_data", "model_repository"]


class Live(BaseModel):
    """Whether the process works."""

    live: bool


class Ready(BaseModel):
    """Whether requests should be sent here."""

    ready: bool


class ModelReady(Ready):
    """Whether a model is served."""

    name: str


class TensorMetadata(BaseModel):
    """A tensor of a model: a batch of RGB images by rows (N, H, W, 3); or BYTES of shape (N), files of images."""

    name: str = IMAGE
    datatype: str = PIXELS
    shape: list[int] = [ANY, ANY, ANY, CHANNELS]


class ModelMetadata(BaseModel):
    """What a model is, and what its tensors are."""

    name: str
    versions: list[str]
    platform: str = "pytorch_safetensors"
    inputs: list[TensorMetadata] = [TensorMetadata()]
    outputs: list[TensorMetadata] = [TensorMetadata()]

    @classmethod
    def of(cls, model: ServedModel) -> "ModelMetadata":
        """Of a served model, of which one version is served."""
        return cls(name=model.name, versions=[str(model.manifest.version)])


class IndexedModel(BaseModel):
    """An entry of the index of models."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""


class _Message(BaseModel):
    """A part of a message from a client; members that later versions of the protocol add are ignored."""

    model_config = ConfigDict(extra="ignore")

    parameters: dict[str, Any] = {}

    @classmethod
    def parse(cls, document: bytes | memoryview) -> Self:
        """Of JSON. Raises InvalidRequest."""
        try:
            return cls.model_validate_json(bytes(document))
        except ValidationError as error:
            raise invalid_request(error) from error


class IndexQuestion(_Message):
    """Which models an index is to have."""

    model_config = ConfigDict(strict=True)

    ready: bool = False
    """Those alone that are ready."""


class InputTensor(_Message):
    """A tensor that a client sends; its values are in `data`, or in the binary part of the body."""

    name: str = Field(max_length=MAX_NAME)
    datatype: str = Field(max_length=MAX_NAME)
    shape: list[Annotated[int, Field(ge=0, le=MAX_INTEGER)]] = Field(max_length=8)
    data: Any = None

    @property
    def binary_size(self) -> int | None:
        """Bytes of its values in the binary part; None where they are in the JSON."""
        size = self.parameters.get("binary_data_size")
        return size if isinstance(size, int) else None


class OutputParameters(BaseModel):
    """How a tensor is wanted: as no classes, and not in shared memory, where a client would find nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)

    binary_data: bool | None = None
    """Whether its values come behind the JSON; None where it is as with other outputs."""


class RequestedOutput(BaseModel):
    """A tensor that a client wants."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(max_length=MAX_NAME)
    parameters: OutputParameters = OutputParameters()


class InferenceMessage(_Message):
    """A request for an inference, without the values of its tensors."""

    id: str | None = Field(None, max_length=1000)
    inputs: list[InputTensor] = Field(max_length=8)
    outputs: list[RequestedOutput] = Field([], max_length=8)


class InferenceError(BaseModel):
    """The body of every failure."""

    error: str


def render_inference_error(failure: ServiceError, instance: str, _prefix: str = "") -> Response:
    """A failure as the protocol has it; a `Renderer`."""
    content = InferenceError(error=f"{failure.title}: {failure.detail}").model_dump()
    return JSONResponse(content, failure.status, failure_headers(failure, instance))
