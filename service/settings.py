"""Every option of the service once: its default, its bounds, its meaning.

The only reader of the environment and of the configuration file.
"""

import base64
import binascii
import math
import os
import re
import resource
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from model_store import (
    SHIPPED,
    SHIPPED_STORE,
    CacheSettings,
    Location,
    home_expanded,
    parse_location,
    split_locations,
)
from model_store.processors import available_cpus
from service.environment import PREFIX, Environment
from service.setting_lists import HostNames, Origins, Proxies, WebhookHosts

MEGA = 1_000_000

OWN_PATHS = frozenset(
    {
        "v1",
        "v2",
        "sdapi",
        "docs",
        "openapi.json",
        "static-offline-docs",
        "playground",
        "metrics",
        "problems",
        "livez",
        "readyz",
    }
)
"""How the paths of the service begin."""


REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://")
"""How a jobs_url begins."""


def cpus_of_each(settings: Mapping[str, int]) -> int:
    """The processors that each of the serving processes has, one or more; `settings`: those that are known."""
    return max(1, available_cpus() // settings.get("processes", 1))


def nearest(name: str, known: Collection[str]) -> str:
    """What to write instead of a name that is none of those that are known."""
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else "pastiche-serve --help lists those that there are"


def connections_of_descriptors() -> int:
    """Connections that leave half of the descriptors of this process for all else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(4096, soft // 2)) if soft != resource.RLIM_INFINITY else 4096


class ConfigFile(PydanticBaseSettingsSource):
    """The TOML file that `config` names, wherever that was said: it has settings by their names, as `port = 8080`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """What the file says of one setting, None where it says nothing. Raises SettingsError."""
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the file says. Raises SettingsError where that is no TOML, or no setting."""
        path = self.current_state.get("config")
        if not path:
            return {}
        try:
            source = TomlConfigSettingsSource(self.settings_cls, home_expanded(Path(path)))
        except (OSError, ValueError) as error:  # it is no TOML, or no text
            raise SettingsError(f"{path}: {error}") from error
        for name in source.toml_data:
            self._require_setting(name, path)
        return source()

    def _require_setting(self, name: str, path: object) -> None:
        known = self.settings_cls.model_fields.keys() - {"config"}
        if name not in known:
            raise SettingsError(f"{path}: there is no setting {name!r}; {nearest(name.replace('-', '_'), known)}")


class Settings(BaseSettings):
    """From options (`--port 8080`), the environment (`PASTICHE_PORT=8080`) and a file (`--config`): the first wins."""

    # The docstring is what `pastiche-serve --help` says. To read them raises ValidationError or SettingsError.

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    config: FilePath | None = Field(
        None, description="TOML file of further settings, such as `port = 8080`; options and the environment win"
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 for any free one")
    uds: Path | None = Field(None, description="Unix socket to listen on, instead of host and port")
    metrics_host: str = Field("127.0.0.1", description="address of the port of metrics_port")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="a port of their own for /metrics and the probes; by default they share port"
    )
    tls_certificate: FilePath | None = Field(None, description="PEM file of the certificate and its chain, for HTTPS")
    tls_key: FilePath | None = Field(None, description="PEM file of its private key, where that is another file")
    tls_key_password: SecretStr | None = Field(None, description="password of the private key")

    stores: Annotated[tuple[Location, ...], NoDecode] = Field(
        (SHIPPED_STORE, Path("models")),
        min_length=1,
        description=f"folders of models, or URLs (s3://…), separated by {os.pathsep!r}; a later one hides models of "
        "the same name",
    )
    store_cache_folder: Path = Field(
        CacheSettings().folder, description="where the models of stores at URLs are kept; processes may share it"
    )
    store_cache_bytes: int = Field(
        CacheSettings().max_bytes, ge=0, description="bytes kept there of each store, beside the models that are loaded"
    )
    store_poll_seconds: float = Field(2.0, gt=0, le=3600, description="seconds between reads of the stores")

    device: str = Field(
        "auto",
        description="where networks run: auto (one GPU, if there is any), cpu, cuda, cuda:1; several GPUs of one "
        "model, each of which has all networks: cuda:0,cuda:1, or cuda:all",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="of the networks; auto: fp16 on a GPU, bf16 on processors that compute in it, else fp32; and fp32 "
        "for imported networks that differ by more than two levels of 255 in it",
    )
    cpu_engine: Literal["torch", "openvino", "auto"] = Field(
        "torch",
        description="what computes local networks on a CPU: torch; openvino, by the extra of that name; auto: what "
        "measures faster when the network is loaded, torch where OpenVINO is not installed",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that serve the port side by side, each a whole service with networks and a queue of its "
        "own: for more small images a second than one interpreter can handle. They share the device; limits are those "
        "of each",
    )
    threads: int = Field(
        default_factory=cpus_of_each,
        ge=1,
        le=1024,
        description="processor threads that a lone forward pass uses; by default all processors, divided by processes",
    )
    lanes: int = Field(
        default_factory=lambda data: min(cpus_of_each(data), 4),
        ge=1,
        le=64,
        description="forward passes side by side on a CPU, each with its share of the threads: more images per second "
        "than one after the other on all threads, which is how a lone image runs. By default as many, at most 4",
    )
    codec_workers: int = Field(
        default_factory=cpus_of_each,
        ge=1,
        le=1024,
        description="processes in which images are decoded and encoded; up to twice as many take over what is slow. By "
        "default as many as there are processors, divided by processes",
    )
    codec_seconds: float = Field(
        2.0,
        gt=0,
        le=3600,
        description="processor seconds in which the header of an image must be read; to decode and encode it, each "
        "megapixel is given a quarter of them, or all of them, beside",
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
        description="the same numbers of all tiles that share a batch, halos included, which bounds its memory; by "
        "default 128 million on a GPU, and on a CPU, where batches gain nothing, one tile at a time",
    )

    resident_bytes: int | None = Field(
        None,
        ge=1,
        description="bytes of weights on the device, in all precisions; where the models that are served have more, "
        "the least recently used leave it, and come back when they are asked for. By default 40 % of what is free of a "
        "GPU's memory at the start, and no bound on a CPU",
    )
    resident_host_bytes: int = Field(
        4 * 2**30,
        ge=0,
        description="bytes of the host's page-locked memory for weights that left a GPU, from where they come back "
        "soonest; further ones are read from their store",
    )

    max_connections: int = Field(
        default_factory=connections_of_descriptors,
        ge=1,
        description="connections open at the same time; further ones get 503, but for /livez, /readyz and /metrics. By "
        "default half of the descriptors that the process may open, at most 4096",
    )
    header_seconds: float = Field(10.0, gt=0, le=3600, description="seconds for a request line and header to arrive")
    min_bytes_per_second: float = Field(
        8192.0,
        gt=0,
        description="slowest pace of a body on its way here and of an answer on its way to the client, on average over "
        "10 seconds",
    )
    max_body_bytes: int = Field(64 * 2**20, ge=1, description="largest request body")
    max_body_bytes_in_flight: int = Field(
        512 * 2**20,
        ge=1,
        description="bytes of all request bodies in memory, from before they are read until they are answered; a "
        "quarter of it is for small ones. At least 4/3 of max_body_bytes",
    )
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
        description="seconds for a body to arrive, and then for its answer, where X-Request-Timeout does not say: what "
        "would take longer is refused",
    )
    max_request_timeout: float = Field(
        600.0,
        gt=0,
        le=86400,
        description="most seconds that X-Request-Timeout may ask for; without it, the time after which a request that "
        "was accepted is given up",
    )
    stall_seconds: float = Field(300.0, gt=0, description="seconds in one device operation after which /livez fails")

    load_shedding: bool = Field(
        True,
        description="while the service is full, requests like those that were just refused are refused by the HTTP "
        "protocol, which costs less",
    )
    coalesce: bool = Field(True, description="identical requests in flight are computed once")
    jobs_folder: Path = Field(
        Path("jobs"), description="where jobs and their results are kept; one service has it for itself"
    )
    jobs_url: SecretStr = Field(
        SecretStr(""),
        description="Redis server that keeps the jobs of several replicas, instead of jobs_folder: "
        "redis://host:6379/0, rediss://… with TLS, unix:///path, or "
        "redis+sentinel://host:26379,host:26379/service/0, by Redis Sentinel; needs the extra `redis`",
    )
    job_results_url: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9+.-]*://[^\s]*)?$",
        description="where results lie beside Redis, as fsspec names it: s3://bucket/prefix, file:///shared; by "
        "default they are in Redis; needs the extra `stores`",
    )
    job_inline_bytes: int = Field(
        0, ge=0, description="results of at most so many bytes are in Redis though there is a job_results_url"
    )
    job_lease_seconds: float = Field(
        15.0,
        ge=1,
        le=3600,
        description="seconds after which the jobs of a replica that Redis does not hear of are run by another one",
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
    job_seconds: float = Field(86400.0, gt=0, le=1e10, description="seconds for which the result of a job is kept")
    job_bytes: int = Field(
        4 * 2**30, ge=1, description="bytes of all jobs that are kept; the oldest results make room for new ones"
    )

    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="signs the webhooks that jobs send to X-Callback-URL; without it there are none: whsec_ and 24 to "
        "64 bytes in base64; or several, separated by spaces, while one takes the place of another",
    )
    webhook_hosts: WebhookHosts = Field(
        "",
        description="hosts, separated by spaces, to which webhooks may go by http:// and at private addresses; others "
        "need https:// and public addresses",
    )
    webhook_timeout: float = Field(10.0, gt=0, le=600, description="seconds for one attempt to deliver a webhook")
    webhook_attempts: int = Field(12, ge=1, le=1000, description="attempts to deliver a webhook, before it is given up")
    webhook_retry_seconds: float = Field(
        5.0, gt=0, le=3600, description="seconds before the second attempt; twice as many each time, up to an hour"
    )

    client_apis: str = Field(
        "openai,open-inference,automatic1111",
        pattern=r"^\s*(openai|open-inference|automatic1111)?(\s*,\s*(openai|open-inference|automatic1111))*\s*$",
        description="APIs of other programs that are answered, separated by commas: openai (/v1/images/edits), "
        "open-inference (/v2), automatic1111 (/sdapi/v1)",
    )
    openai_models: str = Field(
        "",
        pattern=r"^\s*([^\s=]+=[^\s=]+(\s+|$))*$",
        description="further names of models for OpenAI's clients, whose programs may know none but OpenAI's: "
        "'gpt-image-1=great-wave dall-e-2=x4', or styles to be mixed, name:weight,…, instead of a model",
    )

    keys_file: Path | None = Field(
        None, description="TOML file of the API keys that are accepted (see pastiche-keys); by default none is needed"
    )
    keys_required: bool = Field(
        True, description="where there is a keys_file, refuse clients without a key; false: they may use the service"
    )
    address_megapixels_per_minute: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="output of a client without a key, by its address"
    )
    address_requests_per_minute: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="requests of a client without a key, by its address"
    )
    address_requests_in_flight: int | None = Field(
        None, ge=1, description="requests of a client without a key at the same time, by its address"
    )
    address_unfinished_jobs: int | None = Field(
        None, ge=1, description="jobs of a client without a key that have not ended, by its address"
    )
    allowed_hosts: HostNames = Field(
        "*",
        pattern=r"^\s*[^\s,]+(\s*,\s*[^\s,]+)*\s*$",
        description="hosts that requests may name, separated by commas; *.example.com for all below; * for any",
    )
    cors_origins: Origins = Field(
        "",
        pattern=r"^\s*([^\s,]+(\s*,\s*[^\s,]+)*)?\s*$",
        description="origins whose pages may call the service from a browser, separated by commas; * for any",
    )
    forwarded_allow_ips: Proxies = Field(
        "127.0.0.1,::1",
        description="addresses and networks of proxies whose X-Forwarded-For, -Proto and -Prefix are believed; * for "
        "any, which lets clients choose their address",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,8}$",
        description="path under which a proxy shows the service, such as /pastiche, whether it removes it or not",
    )

    playground: bool = Field(True, description="answer / with the web page, where a browser asks, and its files")
    serve_docs: bool = Field(True, description="answer /docs and /openapi.json")
    serve_metrics: bool = Field(True, description="answer /metrics, here or at metrics_port")

    shutdown_delay_seconds: float = Field(
        0.0, ge=0, le=600, description="seconds after SIGTERM in which requests are still admitted, while /readyz fails"
    )
    drain_seconds: float = Field(30.0, ge=0, le=3600, description="seconds in which admitted requests may finish")

    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^\s]+)?$",
        description="OpenTelemetry collector that gets the traces of requests, by OTLP over HTTP, such as "
        "http://127.0.0.1:4318; needs the extra `otel`",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level logged")
    log_format: Literal["text", "json"] = Field("text", description="one line per event, for people or for machines")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # pydantic-settings passes all by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the first of which decides; options of the command line come before all of them."""
        return init_settings, Environment(settings_cls), ConfigFile(settings_cls)

    @property
    def device_names(self) -> list[str]:
        """The names of `device`."""
        return [name.strip() for name in self.device.split(",")]

    @property
    def jobs_are_shared(self) -> bool:
        """Whether every serving process knows the jobs of all others."""
        return self.processes == 1 or bool(self.jobs_url.get_secret_value())

    @property
    def hosts(self) -> list[str]:
        """The names of `allowed_hosts`."""
        return [host.strip() for host in self.allowed_hosts.split(",")]

    @property
    def origins(self) -> list[str]:
        """The origins of `cors_origins`."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    @property
    def apis(self) -> frozenset[str]:
        """The names of `client_apis`."""
        return frozenset(name.strip() for name in self.client_apis.split(",") if name.strip())

    @property
    def openai_names(self) -> dict[str, str]:
        """What `openai_models` says: the model of each further name."""
        return dict(pair.split("=") for pair in self.openai_models.split())

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """What `webhook_secret` says: the keys of the signatures; none where there are no webhooks."""
        return tuple(_webhook_key(secret) for secret in self.webhook_secret.get_secret_value().split())

    @property
    def store_cache(self) -> CacheSettings:
        """Where the models of stores at URLs are kept."""
        return CacheSettings(self.store_cache_folder, self.store_cache_bytes)

    @field_validator("host", "metrics_host", "uds", "keys_file", "jobs_folder", "store_cache_folder", mode="before")
    @classmethod
    def _says_something(cls, value: object) -> object:
        """No host would be every interface, and no path the current folder."""
        if value == "":
            raise ValueError("it is empty; leave it out where there is none")
        return value

    @field_validator(
        "config", "uds", "tls_certificate", "tls_key", "store_cache_folder", "jobs_folder", "keys_file", mode="before"
    )
    @classmethod
    def _expands_home(cls, value: object) -> object:
        """No shell does in a file, in a variable of a container, or after an equals sign."""
        return home_expanded(Path(value)) if isinstance(value, str | Path) and value else value

    @field_validator("device")
    @classmethod
    def _names_devices(cls, value: str) -> str:
        names = ["cuda:0" if name.strip() == "cuda" else name.strip() for name in value.split(",")]
        alone = len(names) == 1 and names[0] in ("auto", "cpu", "cuda:all")
        if not alone and not all(re.fullmatch(r"cuda:\d{1,3}", name) for name in names):
            raise ValueError("must be auto, cpu, cuda:all, or GPUs separated by commas, such as cuda:0,cuda:1")
        if len(set(names)) < len(names):
            raise ValueError(f"names a device twice: {', '.join(names)}")
        return value

    @field_validator("jobs_url")
    @classmethod
    def _names_a_redis_server(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError(f"must begin with {', '.join(REDIS_SCHEMES)}")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _has_keys(cls, value: SecretStr) -> SecretStr:
        for secret in value.get_secret_value().split():
            _webhook_key(secret)
        return value

    @field_validator("stores", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        parts = split_locations(value) if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            return parts
        return tuple(_parse_store(part) if isinstance(part, str) else part for part in parts)

    @field_validator("root_path")
    @classmethod
    def _hides_no_path(cls, value: str) -> str:
        if value and value.split("/")[1] in OWN_PATHS:
            raise ValueError("it begins like a path of the service itself: the two could not be told apart")
        return value

    @model_validator(mode="after")
    def _has_a_certificate_for_the_key(self) -> Self:
        if self.tls_certificate is None and (self.tls_key is not None or self.tls_key_password is not None):
            raise ValueError("tls_key and tls_key_password are of no use without tls_certificate")
        return self

    @model_validator(mode="after")
    def _has_two_ports(self) -> Self:
        """Several processes would share the one port, and their servers its connections."""
        hosts = {self.host, self.metrics_host}
        is_one = self.uds is None and (len(hosts) == 1 or not hosts.isdisjoint(("0.0.0.0", "::")))
        if self.metrics_port == self.port != 0 and is_one:
            raise ValueError("metrics_port must be another one than port; leave it out for one port for both")
        return self

    @model_validator(mode="after")
    def _admits_the_largest(self) -> Self:
        if self.max_queue_pixels < self.max_output_pixels:
            raise ValueError("max_queue_pixels must be at least max_output_pixels, or the largest image never runs")
        if self.max_queue_inferences < self.max_frames:
            raise ValueError("max_queue_inferences must be at least max_frames, or the longest animation never runs")
        return self

    @model_validator(mode="after")
    def _holds_the_largest_body(self) -> Self:
        least = math.ceil(self.max_body_bytes * 4 / 3)
        if self.max_body_bytes_in_flight < least:
            raise ValueError(f"max_body_bytes_in_flight must be at least {least}, or the largest body is never read")
        return self


def wrong_values(error: ValidationError) -> list[ErrorDetails]:
    """What is wrong with given values: pydantic also names defaults, which it has not computed for that."""
    return [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]


def _parse_store(text: str) -> Location:
    return SHIPPED_STORE if text == SHIPPED else parse_location(text)


def _webhook_key(secret: str) -> bytes:
    """The key of a secret of Standard Webhooks. Raises ValueError."""
    prefix, _, encoded = secret.partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if prefix != "whsec" or not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64; `openssl rand -base64 32` makes what follows it")
    return key
