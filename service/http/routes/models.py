"""`GET /v1/models`: what is served, what is known of it, and what could not be loaded."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from fastapi import Request, Response
from pydantic import BaseModel, Field

from model_store import PREVIEW_FILE, Manifest, StoreError
from service.errors import NoPreview
from service.http.problem_responses import problem_responses
from service.http.responses import conditional_response, content_tag
from service.http.root_path import root_path
from service.http.routers import new_router
from service.http.routes.parameters import IfNoneMatchHeader, ModelPath
from service.models.load_failures import LoadFailure
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel

PNG, MARKDOWN = "image/png", "text/markdown"

OWNER: Literal["pastiche"] = "pastiche"
"""Of all models, for OpenAI's clients."""


class LoadFailureInfo(BaseModel):
    """A version that was promoted, but is not served."""

    version: int | None
    reason: str
    at: datetime
    attempts: int

    @classmethod
    def of(cls, failure: LoadFailure | None) -> Self | None:
        """The public part of a failure."""
        if failure is None:
            return None
        return cls(version=failure.version.number, reason=failure.reason, at=failure.at, attempts=failure.attempts)


class ModelSummary(BaseModel):
    """A model in the list: what a client needs to choose one."""

    name: str
    state: Literal["ready", "failed"] = Field(description="failed: no version of it could be loaded")
    version: int | None = Field(description="the version that answers requests")
    task: Literal["style", "super-resolution", "restoration"] | None = None
    scale: int | None = Field(None, description="output side over input side")
    title: str = ""
    license: str = Field("", description="SPDX identifier of the licence of the weights")
    tileable: bool | None = Field(None, description="whether an output pixel depends on its neighbourhood alone")
    digest: str | None = None
    created: datetime | None = None
    preview: str | None = Field(None, description="path of a picture of what it does")
    failure: LoadFailureInfo | None = Field(None, description="why a newer or only version is not served")

    @classmethod
    def of(cls, model: ServedModel, failure: LoadFailure | None, prefix: str = "") -> Self:
        """A served model, and why a newer version of it is not served; `prefix` is that of all paths."""
        known = model.manifest.model_dump(include=set(cls.model_fields))
        preview = f"{prefix}/v1/models/{model.name}/preview" if model.has_preview else None
        return cls(**known, state="ready", preview=preview, failure=LoadFailureInfo.of(failure))


class OpenAIModel(BaseModel):
    """A model as OpenAI's clients know it."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="seconds since 1970")
    owned_by: Literal["pastiche"] = OWNER


class ModelList(BaseModel):
    """Every model of the stores; those that answer once more as OpenAI's clients list them."""

    models: list[ModelSummary]
    object: Literal["list"] = "list"
    data: list[OpenAIModel]

    @classmethod
    def of(cls, models: Sequence[ModelSummary], further: Mapping[str, str]) -> Self:
        """The list, sorted by name; behind it the `further` names that OpenAI's clients may use."""
        ordered = sorted(models, key=lambda model: model.name)
        dates = {model.name: int(model.created.timestamp()) for model in ordered if model.created is not None}
        for name, expression in further.items():
            parts = _model_names(expression)
            if dates.keys() >= set(parts):
                dates.setdefault(name, max(dates[part] for part in parts))
        return cls(models=ordered, data=[OpenAIModel(id=name, created=at) for name, at in dates.items()])


class ModelDetails(ModelSummary):
    """A model, and everything that its manifest says; also what OpenAI's clients read of a model, but for its date."""

    id: str
    object: Literal["model"] = "model"
    owned_by: Literal["pastiche"] = OWNER
    manifest: Manifest | None = None

    @classmethod
    def complete(cls, name: str, summary: ModelSummary, manifest: Manifest | None = None) -> Self:
        """The entry of the list, with the manifest of what is served; `name` is what it was asked for by."""
        return cls(**dict(summary), id=name, manifest=manifest)


class ModelRoutes:
    """GET /v1/models, one model, its preview and its card."""

    def __init__(self, models: ModelRegistry, further: Mapping[str, str]) -> None:
        """`further`: what further names mean to OpenAI's clients, a model or several that are mixed."""
        self._models = models
        self._further = further
        self.router = new_router(prefix="/v1/models", tags=["models"])
        self.router.add_api_route("", self.every)
        self.router.add_api_route("/{name}", self.one, responses=problem_responses(404, 503))
        self.router.add_api_route(
            "/{name}/preview",
            self.preview,
            response_class=Response,
            responses=_file_responses("A picture", PNG),
        )
        self.router.add_api_route(
            "/{name}/card",
            self.card,
            response_class=Response,
            responses=_file_responses("Markdown", MARKDOWN),
        )

    async def every(self, request: Request) -> ModelList:
        """The models that are served, and those that could not be loaded with the reason."""
        prefix, failure = root_path(request.scope), self._models.failures.find
        served = [ModelSummary.of(model, failure(model.name), prefix) for model in self._models.all()]
        known = {model.name for model in served}
        failed = [_failed(failure) for failure in self._models.failures.all() if failure.version.name not in known]
        return ModelList.of([*served, *failed], self._further)

    async def one(self, request: Request, name: ModelPath) -> ModelDetails:
        """One model with its whole manifest; by a further name of several that are mixed, the first of them."""
        served = {model.name for model in self._models.all()}
        known = name if name in served else _model_names(self._further.get(name, name))[0]
        failure = self._models.failures.find(known)
        if failure is not None and known not in served:
            return ModelDetails.complete(name, _failed(failure))
        model = self._models.find(known)
        summary = ModelSummary.of(model, failure, root_path(request.scope))
        return ModelDetails.complete(name, summary, model.manifest)

    async def preview(self, name: ModelPath, if_none_match: IfNoneMatchHeader = None) -> Response:
        """A picture of what a model does."""
        model = self._models.find(name)
        try:
            content = await asyncio.to_thread(model.read_preview)
        except StoreError as error:
            raise NoPreview(f"the preview cannot be shown: {error}") from error
        except OSError:
            content = None
        if content is None:
            raise NoPreview(f"{model.label} was published without a preview")
        return conditional_response(if_none_match, content, {"Content-Type": PNG, "ETag": content_tag(content)})

    async def card(self, name: ModelPath, if_none_match: IfNoneMatchHeader = None) -> Response:
        """The model card: Markdown, with the metadata that the Hugging Face Hub reads."""
        model = self._models.find(name)
        text = await asyncio.to_thread(model.read_card)
        content = text.replace(f"]({PREVIEW_FILE})", "](preview)").encode()  # as the path of the preview is here
        headers = {"Content-Type": f"{MARKDOWN}; charset=utf-8", "ETag": content_tag(content)}
        return conditional_response(if_none_match, content, headers)


def _file_responses(description: str, media_type: str) -> dict[int | str, dict[str, Any]]:
    """A file, for the OpenAPI document."""
    found = {"description": description, "content": {media_type: {}}}
    return {200: found, 304: {"description": "The client has it"}, **problem_responses(404, 503)}


def _failed(failure: LoadFailure) -> ModelSummary:
    return ModelSummary(name=failure.version.name, state="failed", version=None, failure=LoadFailureInfo.of(failure))


def _model_names(expression: str) -> list[str]:
    """The names in what a further name means: `name`, or `name:weight,…`."""
    return [part.partition(":")[0] for part in expression.split(",")]
