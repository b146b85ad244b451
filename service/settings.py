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
    store_poll_seconds: float = Field(2.0, gt=0, le=3600, description="seconds between reads of the stores")

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="where networks run: auto (a GPU if there is one), cpu, cuda, cuda:1",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the networks; auto: fp16 on a GPU, bf16 on processors that compute in it, else fp32"
    )
    threads: int = Field(
        default_factory=available_cpus, ge=1, le=1024, description="processor threads that a lone forward pass uses"
    )
    lanes: int = Field(
        default_factory=lambda: min(available_cpus(), 4),
        ge=1,
        le=64,
        description="forward passes side by side on a CPU, each with its share of the threads: more images per second "
        "than one after the other on all threads, which is how a lone image runs",
    )
    codec_threads: int = Field(
        default_factory=available_cpus, ge=1, le=1024, description="images decoded or encoded at the same time"
    )
    tile_values: int = Field(
        64 * MEGA,
        ge=2**10,
        description="numbers in the two widest neighbouring planes of a forward pass, which bounds the size of tiles "
        "and so the memory of a pass; the paper's style network needs 48 per pixel, its ×4 network 1280",
    )
    batch_values: int | None = Field(
        None,
        ge=1,
        description="the same numbers of all tiles that share a pass, margins included, which bounds its memory; by "
        "default 128 million on a GPU, and on a CPU, where batches gain nothing, one tile at a time",
    )

    max_body_bytes: int = Field(64 * 2**20, ge=1, description="largest request body")
    max_pixels: int = Field(100 * MEGA, ge=1, description="largest input image, width × height")
    max_whole_pixels: int = Field(
        16 * MEGA,
        ge=1,
        description="largest input image for networks that cannot be cut into tiles; one of the paper's size takes 203 "
        "bytes per pixel in bf16 and 318 in fp32, so that 16 megapixels need 5 GB",
    )
    max_output_pixels: int = Field(160 * MEGA, ge=1, description="largest output image, width × height")
    max_frames: int = Field(
        600, ge=1, description="most frames of an animated image; the limits on pixels are for all of them together"
    )
    max_queue_requests: int = Field(64, ge=1, description="requests admitted at the same time, those running included")
    max_queue_pixels: int = Field(
        320 * MEGA, ge=1, description="output pixels admitted at the same time; at least max_output_pixels"
    )
    max_queue_inferences: int = Field(
        2400,
        ge=1,
        description="inference requests, one for each frame and network, admitted at the same time; at least "
        "max_frames. An animation of 600 frames in a mixture of four styles needs as many as the default",
    )
    request_timeout: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="seconds for a body to arrive, and then for its answer, where X-Request-Timeout does not say",
    )
    max_request_timeout: float = Field(
        600.0, gt=0, le=86400, description="most seconds that X-Request-Timeout may ask for"
    )
    stall_seconds: float = Field(300.0, gt=0, description="seconds in one device operation after which /livez fails")

    load_shedding: bool = Field(
        True,
        description="while the service is full, requests like those that were just refused are refused by the HTTP "
        "protocol, which costs less; it relies on internals of uvicorn, and can be switched off for a new one",
    )
    coalesce: bool = Field(True, description="identical requests in flight are computed once")
    jobs_folder: Path = Field(
        Path("jobs"), description="where jobs and their results are kept; one service has it for itself"
    )
    max_jobs: int = Field(256, ge=1, description="unfinished jobs that are accepted at the same time")
    max_running_jobs: int = Field(
        4, ge=1, le=1024, description="jobs whose images are in memory at the same time; the others wait on the disk"
    )
    job_timeout: float = Field(
        3600.0,
        gt=0,
        description="seconds from a job's start to its result, retries included, where X-Request-Timeout is not given",
    )
    job_seconds: float = Field(86400.0, gt=0, description="seconds for which the result of a job is kept")
    job_bytes: int = Field(
        4 * 2**30, ge=1, description="bytes on the disk of all jobs; the oldest results make room for new ones"
    )

    openai_models: str = Field(
        "",
        pattern=r"^\s*([^\s=]+=[^\s=]+(\s+|$))*$",
        description="further names of models for OpenAI's clients, whose programs may know none but OpenAI's: "
        "'gpt-image-1=great-wave dall-e-2=x4', or styles to be mixed, name:weight,…, instead of a model",
    )

    shutdown_delay_seconds: float = Field(
        0.0, ge=0, le=600, description="seconds after SIGTERM in which requests are still admitted, while /readyz fails"
    )
    drain_seconds: float = Field(30.0, ge=0, le=3600, description="seconds in which admitted requests may finish")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level logged")
    log_format: Literal["text", "json"] = Field("text", description="one line per event, for people or for machines")

    @property
    def openai_names(self) -> dict[str, str]:
        """What `openai_models` says: the model of each further name."""
        return dict(pair.split("=") for pair in self.openai_models.split())

    @field_validator("stores", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _admits_the_largest(self) -> Self:
        if self.max_queue_pixels < self.max_output_pixels:
            raise ValueError("max_queue_pixels must be at least max_output_pixels, or the largest image never runs")
        if self.max_queue_inferences < self.max_frames:
            raise ValueError("max_queue_inferences must be at least max_frames, or the longest animation never runs")
        return self
