import base64
import os
import re
import resource
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from model_store import SHIPPED_STORE
from service.pipeline.stylize import MAX_STYLES
from service.settings import Settings, wrong_values


def test_defaults_serve_the_shipped_models_to_this_machine_only() -> None:
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.stores == (SHIPPED_STORE, Path("models"))


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_PORT", "9000")
    monkeypatch.setenv("PASTICHE_STORES", os.pathsep.join(["/one", "/two"]))
    monkeypatch.setenv("PASTICHE_PRECISION", "bf16")
    settings = Settings()
    assert settings.port == 9000
    assert settings.stores == (Path("/one"), Path("/two"))
    assert settings.precision == "bf16"


def test_command_line_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_PORT", "9000")
    monkeypatch.setenv("PASTICHE_THREADS", "3")
    settings = Settings(_cli_parse_args=["--port", "9001", "--stores", "/one:/two"], _cli_kebab_case=True)
    assert (settings.port, settings.threads) == (9001, 3)
    assert settings.stores == (Path("/one"), Path("/two"))


def test_processes_share_the_processors_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.settings.available_cpus", lambda: 12)
    settings = Settings(processes=2)
    assert (settings.threads, settings.lanes, settings.codec_workers) == (6, 4, 6)
    settings = Settings(processes=5, threads=12)
    assert (settings.threads, settings.lanes, settings.codec_workers) == (12, 2, 2)
    settings = Settings(processes=64)
    assert (settings.threads, settings.lanes, settings.codec_workers) == (1, 1, 1)


def test_jobs_are_shared_by_one_process_or_in_redis() -> None:
    assert Settings().jobs_are_shared
    assert not Settings(processes=2).jobs_are_shared
    assert Settings(processes=2, jobs_url=SecretStr("redis://localhost")).jobs_are_shared


def test_models_have_further_names_for_openais_clients() -> None:
    assert Settings().openai_names == {}
    names = "gpt-image-1=great-wave  dall-e-2=great-wave:0.7,udnie:0.3 "
    expected = {"gpt-image-1": "great-wave", "dall-e-2": "great-wave:0.7,udnie:0.3"}
    assert Settings(openai_models=names).openai_names == expected
    assert Settings(_cli_parse_args=["--openai-models", names], _cli_kebab_case=True).openai_names == expected
    for malformed in ("great-wave", "=great-wave", "a=b=c", "gpt-image-1 = great-wave"):
        with pytest.raises(ValidationError):
            Settings(openai_models=malformed)


def test_apis_of_others_can_be_chosen() -> None:
    assert Settings().apis == {"openai", "open-inference", "automatic1111"}
    assert Settings(client_apis=" openai , open-inference").apis == {"openai", "open-inference"}
    assert Settings(client_apis="").apis == frozenset()
    for malformed in ("openai open-inference", "openai,", "all"):
        with pytest.raises(ValidationError):
            Settings(client_apis=malformed)


def test_secrets_of_webhooks_are_keys_and_are_not_shown() -> None:
    assert Settings().webhook_keys == ()
    one, other = ("whsec_" + base64.b64encode(bytes([value] * 24)).decode() for value in (1, 2))
    settings = Settings(webhook_secret=SecretStr(f"{one} {other}"))
    assert settings.webhook_keys == (bytes([1] * 24), bytes([2] * 24))
    assert one not in str(settings)
    for malformed in ("whsec_", "whsec_c2hvcnQ=", "whsec_" + "A" * 100, f"{one}!", one.removeprefix("whsec_")):
        with pytest.raises(ValidationError, match="openssl rand -base64 32") as refused:
            Settings(webhook_secret=SecretStr(malformed))
        assert f"'{malformed}'" not in str(refused.value)


def test_lists_are_separated_by_commas() -> None:
    settings = Settings(allowed_hosts="a.example, *.example.com", cors_origins="https://a.example,https://b.example")
    assert settings.hosts == ["a.example", "*.example.com"]
    assert settings.origins == ["https://a.example", "https://b.example"]
    assert (Settings().hosts, Settings().origins) == (["*"], [])


@pytest.mark.parametrize("path", ["/v1", "/docs/pastiche", "pastiche", "/pastiche/", "//pastiche", "/..", "/a b"])
def test_prefix_that_could_not_be_told_from_a_path_is_refused(path: str) -> None:
    assert Settings(root_path="/v1x/pastiche").root_path == "/v1x/pastiche"
    with pytest.raises(ValidationError, match="root_path"):
        Settings(root_path=path)


def test_key_of_no_certificate_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch()
    with pytest.raises(ValidationError, match="of no use without tls_certificate"):
        Settings(tls_key=key)
    with pytest.raises(ValidationError, match="does not point to a file"):
        Settings(tls_certificate=tmp_path / "none.pem")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("STORES", ""),
        ("DEVICE", "tpu"),
        ("DEVICE", "cuda:x"),
        ("PRECISION", "int8"),
        ("THREADS", "0"),
        ("MAX_BODY_BYTES", "0"),
        ("REQUEST_TIMEOUT", "0"),
        ("STORE_POLL_SECONDS", "0"),
        ("DRAIN_SECONDS", "-1"),
        ("JOB_SECONDS", "inf"),
        ("JOB_SECONDS", "1e12"),
        ("ADDRESS_REQUESTS_PER_MINUTE", "inf"),
        ("ADDRESS_MEGAPIXELS_PER_MINUTE", "inf"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_values_out_of_bounds_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PASTICHE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_largest_image_by_default_needs_memory_that_servers_have() -> None:
    settings = Settings()
    assert settings.max_whole_pixels * 318 < 6 * 10**9  # bytes; the peak of the paper's style network in fp32
    assert settings.tile_values * 4 < 10**9  # bytes, in fp32, of what a pass over a tile must hold at once
    assert (settings.max_pixels + settings.max_output_pixels) * 3 < 10**9  # bytes of the decoded input and the answer
    assert settings.max_queue_pixels >= settings.max_output_pixels


def test_queue_must_hold_the_largest_image() -> None:
    with pytest.raises(ValidationError, match="largest image never runs"):
        Settings(max_output_pixels=100, max_queue_pixels=99)


def test_memory_of_bodies_must_hold_the_largest() -> None:
    assert Settings(max_body_bytes=300, max_body_bytes_in_flight=400).max_body_bytes == 300
    with pytest.raises(ValidationError, match="must be at least 400, or the largest body is never read"):
        Settings(max_body_bytes=300, max_body_bytes_in_flight=399)


def test_connections_leave_descriptors_for_all_else() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        assert Settings().max_connections == min(4096, (soft - 1) // 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_queue_must_hold_the_longest_animation() -> None:
    with pytest.raises(ValidationError, match="longest animation never runs"):
        Settings(max_frames=100, max_queue_inferences=99)


def test_longest_animation_in_the_largest_mixture_is_admitted_by_default() -> None:
    assert Settings().max_queue_inferences >= Settings().max_frames * MAX_STYLES


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_option_says_what_it_means(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with two settings."""
    path = tmp_path / "pastiche.toml"
    path.write_text('port = 9002\nthreads = 3\nstores = ["/one", "/two"]\nlog_format = "json"\n')
    return path


def test_options_come_before_the_environment_and_that_before_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASTICHE_PORT", "9000")
    monkeypatch.setenv("PASTICHE_THREADS", "2")
    options = ["--config", str(config), "--port", "9001"]
    settings = Settings(_cli_parse_args=options, _cli_kebab_case=True)
    assert (settings.port, settings.threads, settings.log_format) == (9001, 2, "json")
    assert settings.stores == (Path("/one"), Path("/two"))


def test_environment_names_the_file_too(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_CONFIG", str(config))
    assert (Settings().port, Settings().config) == (9002, config)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prot = 1", "pastiche.toml: there is no setting 'prot'; did you mean port?"),
        ("max-pixels = 1", "there is no setting 'max-pixels'; did you mean max_pixels?"),
        ("qqqq = 1", "there is no setting 'qqqq'; pastiche-serve --help lists those that there are"),
        ('config = "other.toml"', "there is no setting 'config'"),
        ("port: 1", "pastiche.toml: Expected"),
    ],
)
def test_file_with_what_is_no_setting_is_refused(text: str, reason: str, config: Path) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(reason)):
        Settings(config=config)


def test_value_out_of_bounds_and_missing_file_are_refused(config: Path) -> None:
    config.write_text("threads = 0")
    with pytest.raises(ValidationError, match="threads"):
        Settings(config=config)
    with pytest.raises(ValidationError, match="does not point to a file"):
        Settings(config=config.with_name("none.toml"))


def test_jobs_url_names_a_redis_server_and_its_password_is_not_shown() -> None:
    url = "rediss://:secret@redis.example:6379/0"
    settings = Settings(jobs_url=SecretStr(url))
    assert settings.jobs_url.get_secret_value() == url
    assert "secret@" not in repr(settings)
    with pytest.raises(ValidationError, match="must begin with redis://, rediss://, unix://") as refused:
        Settings(jobs_url=SecretStr("http://:secret@redis.example"))
    assert "secret@" not in str(refused.value)


def test_stores_may_be_urls() -> None:
    settings = Settings.model_validate({"stores": "shipped:/one:s3://bucket/models/:https://host:8080/models"})
    assert settings.stores == (SHIPPED_STORE, Path("/one"), "s3://bucket/models", "https://host:8080/models")
    assert Settings.model_validate({"stores": ["s3://bucket/models"]}).stores == ("s3://bucket/models",)
    with pytest.raises(ValidationError, match="credentials come from the environment"):
        Settings.model_validate({"stores": "https://user:secret@host/models"})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3", "cuda:all", "cuda:0,cuda:1", "cuda, cuda:1"])
def test_devices(device: str) -> None:
    assert Settings(device=device).device_names == [name.strip() for name in device.split(",")]


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        ("cuda:0,cuda:0", "names a device twice: cuda:0, cuda:0"),
        ("cuda,cuda:0", "names a device twice: cuda:0, cuda:0"),
        *(
            (name, "must be auto, cpu, cuda:all, or GPUs separated by commas, such as cuda:0,cuda:1")
            for name in (
                "cpu,cuda:0",
                "cuda:0,auto",
                "cuda:all,cuda:0",
                "cpu,cpu",
                "",
                "gpu",
                "cuda:0,",
                "cuda:-1",
                "0,1",
            )
        ),
    ],
)
def test_devices_that_do_not_go_together_are_refused(device: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings(device=device)


@pytest.mark.parametrize("name", ["host", "metrics_host", "uds", "keys_file", "jobs_folder", "store_cache_folder"])
def test_variable_that_is_empty_is_neither_every_interface_nor_the_current_folder(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PASTICHE_{name.upper()}", "")
    with pytest.raises(ValidationError, match="it is empty; leave it out") as refused:
        Settings()
    assert [fault["loc"] for fault in wrong_values(refused.value)] == [(name,)]


@pytest.mark.parametrize("hosts", [{}, {"host": "0.0.0.0"}, {"metrics_host": "::"}])
def test_metrics_have_another_port_than_the_service(hosts: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="metrics_port must be another one than port"):
        Settings.model_validate({"port": 8000, "metrics_port": 8000, **hosts})
    Settings.model_validate({"port": 0, "metrics_port": 0, **hosts})
    Settings.model_validate({"port": 8000, "metrics_port": 8001, **hosts})
    Settings.model_validate({"metrics_port": 8000, "uds": "pastiche.sock", **hosts})
    Settings(port=8000, metrics_port=8000, host="192.0.2.1")


def test_a_tilde_is_the_home_folder_wherever_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave it alone after an equals sign, and nothing else but they knows it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pastiche.toml").write_text('uds = "~/socket"')
    monkeypatch.setenv("PASTICHE_JOBS_FOLDER", "~/jobs")
    settings = Settings.model_validate({"config": "~/pastiche.toml", "stores": "shipped:~/models", "keys_file": "~/k"})
    assert settings.uds == tmp_path / "socket"
    assert settings.jobs_folder == tmp_path / "jobs"
    assert settings.stores == (SHIPPED_STORE, tmp_path / "models")
    assert settings.keys_file == tmp_path / "k"
    with pytest.raises(ValidationError, match="begins with no home folder"):
        Settings.model_validate({"jobs_folder": "~nobody-of-this-name/jobs"})


def test_a_url_that_lacks_a_slash_is_no_list_of_folders() -> None:
    with pytest.raises(ValidationError, match="a URL is written s3://bucket"):
        Settings.model_validate({"stores": "s3:bucket"})
