"""Every option of the service once: its default, its bounds, its meaning. The only reader of the environment."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model_store import SHIPPED_STORE

MEGA = 1_000_000


def available_cpus() -> int:
    """The processors that this process is bound to, which can be fewer than the machine has; not a quota of time."""
    return len(os.sched_getaffinity(0))


class Settings(BaseSettings):
    """Read from the environment (`PASTICHE_PORT=8080`) or, by `pastiche-serve`, from options (`--port 8080`)."""

    model_config = SettingsConfigDict(env_prefix="PASTICHE_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 for any free one")

    stores: Annotated[tuple[Path, ...], NoDecode] = Field(
        (SHIPPED_STORE, Path("models")),
        min_length=1,
        description=f"folders of models, separated by {os.pathsep!r}; a later one hides models of the same name",
    )
    store_poll_seconds: float = Field(2.0, gt=0, le=3600, description="how often the stores are looked through")

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="where networks run: auto (a GPU if there is one), cpu, cuda, cuda:1",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the networks; auto: fp16 on a GPU, bf16 on processors that compute in it, else fp32"
    )
    threads: int = Field(
        default_factory=available_cpus, ge=1, le=1024, description="processor threads that one forward pass uses"
    )
    codec_threads: int = Field(
        default_factory=available_cpus, ge=1, le=1024, description="images decoded or encoded at the same time"
    )
    batch_pixels: int | None = Field(
        None,
        ge=1,
        description="output pixels up to which images share a batch; by default 4 megapixels on a GPU, and on a CPU, "
        "where batches gain nothing, one image at a time",
    )

    max_body_bytes: int = Field(32 * 2**20, ge=1, description="largest request body")
    max_pixels: int = Field(
        16 * MEGA,
        ge=1,
        description="largest input image, width × height; the paper's style network takes 203 bytes per pixel in bf16 "
        "and 318 in fp32 at its peak, so that 16 megapixels need 5 GB",
    )
    max_output_pixels: int = Field(64 * MEGA, ge=1, description="largest output image, width × height")
    max_queue_requests: int = Field(64, ge=1, description="requests admitted at the same time, those running included")
    max_queue_pixels: int = Field(
        128 * MEGA, ge=1, description="output pixels admitted at the same time; at least max_output_pixels"
    )
    request_timeout: float = Field(
        60.0, gt=0, le=3600, description="seconds for a body to arrive, and then for its answer"
    )
    stall_seconds: float = Field(300.0, gt=0, description="seconds in one device operation after which /livez fails")

    shutdown_delay_seconds: float = Field(
        0.0, ge=0, le=600, description="seconds after SIGTERM in which requests are still admitted, while /readyz fails"
    )
    drain_seconds: float = Field(30.0, ge=0, le=3600, description="seconds in which admitted requests may finish")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level logged")
    log_format: Literal["text", "json"] = Field("text", description="one line per event, for people or for machines")

    @field_validator("stores", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _admits_the_largest(self) -> Self:
        if self.max_queue_pixels < self.max_output_pixels:
            raise ValueError("max_queue_pixels must be at least max_output_pixels, or the largest image never runs")
        return self
