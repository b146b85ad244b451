"""Path parameters and headers that several endpoints have."""

from typing import Annotated

from fastapi import Header, Path
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from service.http.idempotency_key import IDEMPOTENCY_KEY_HEADER
from service.http.webhooks.address_policy import MAX_URL_LENGTH
from service.http.webhooks.sender import CALLBACK_HEADER
from service.pipeline.upscale import Scale

StylePath = Annotated[
    str,
    Path(
        description="a model of GET /v1/models whose task is style; or up to four, mixed by weight: name:weight,…",
        openapi_examples={
            "one": {"value": "great-wave"},
            "mixed": {"value": "great-wave:0.7,the-scream:0.3", "summary": "seven tenths of one, three of another"},
        },
    ),
]
ScalePath = Annotated[
    Scale,
    Path(
        description="how many times the side grows, 2.5 for example: networks are chained where none has the scale, "
        "and the result of a larger scale is reduced; 1 for a network that restores, which `model` names",
        examples=[4],
    ),
]

ModelPath = Annotated[str, Path(description="the name of a model")]

TimeoutHeader = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | SkipJsonSchema[None],
    Header(
        alias="X-Request-Timeout",
        description="seconds after which the answer is of no use; work that cannot be done by then is refused at once",
        examples=[30],
    ),
]

PreferHeader = Annotated[
    list[str] | SkipJsonSchema[None],
    Header(
        alias="Prefer",
        description="`respond-async` (RFC 7240): the answer is a job, at once; with `wait=10` the image, where that is "
        "ready within 10 seconds",
        examples=[["respond-async"]],
    ),
]

CallbackHeader = Annotated[
    str | SkipJsonSchema[None],
    Header(
        alias=CALLBACK_HEADER,
        max_length=MAX_URL_LENGTH,
        description="where a signed webhook (standardwebhooks.com) with the state of the job is sent when that has "
        "ended: https:// and a host with public addresses, unless the service trusts the host",
        examples=["https://example.com/painted"],
    ),
]

IdempotencyKeyHeader = Annotated[
    str | SkipJsonSchema[None],
    Header(
        alias=IDEMPOTENCY_KEY_HEADER,
        description="of a request that creates a job: sent again with the same key, it is the same job. A string of "
        "your own that nobody can guess, such as a UUID",
        examples=['"8e03978e-40d5-43e8-bc93-6894a57f9324"'],
    ),
]

IfNoneMatchHeader = Annotated[
    list[str] | SkipJsonSchema[None],
    Header(
        alias="If-None-Match",
        description="entity tags of what the client has; 304 where that is the answer",
        examples=[['"9f86d081"']],
    ),
]
