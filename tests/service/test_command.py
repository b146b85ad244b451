import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.command import main, read_settings
from service.settings import Settings


def test_wrong_option_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["pastiche-serve", "--threads", "0"])
    assert main() == 2
    assert capsys.readouterr().err == "error: --threads: Input should be greater than or equal to 1\n"


def test_all_wrong_options_are_named_and_no_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pastiche-serve", "--device", "tpu", "--lanes", "-1"])
    assert main() == 2
    device, lanes = capsys.readouterr().err.splitlines()
    assert device.startswith("error: --device: must be auto, cpu, cuda:all, or GPUs separated by commas")
    assert lanes == "error: --lanes: Input should be greater than or equal to 1"


def test_unknown_setting_of_the_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "pastiche.toml"
    config.write_text("prot = 1\n")
    monkeypatch.setattr(sys, "argv", ["pastiche-serve", "--config", str(config)])
    assert main() == 2
    assert capsys.readouterr().err == f"error: {config}: there is no setting 'prot'; did you mean port?\n"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--prot=1", "there is no option --prot; did you mean --port?"),
        ("--max_pixel", "there is no option --max_pixel; did you mean --max-pixels?"),
        ("--qqqq", "there is no option --qqqq; pastiche-serve --help lists those that there are"),
    ],
)
def test_unknown_option_is_one_line(argument: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_settings(["--device", "cpu", argument, "1"]) is None
    assert capsys.readouterr().err == f"error: {told}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["8080"], "unrecognized arguments: 8080"),
        (["-p", "8080"], "unrecognized arguments: -p 8080"),
        (["--stores", "one", "two"], "unrecognized arguments: two"),
        (["--device", "cpu", "--port"], "argument --port: expected one argument"),
        (["--playground"], "argument --playground: expected one argument"),
        (["--config", "/none.toml"], "--config: Path does not point to a file: /none.toml"),
        (["--tls-certificate", "/none.pem"], "--tls-certificate: Path does not point to a file: /none.pem"),
    ],
)
def test_what_is_no_command_line_is_one_line(
    arguments: Sequence[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_settings(arguments) is None
    assert capsys.readouterr().err == f"error: {told}\n"


@pytest.mark.parametrize("option", [[], ["--port"], ["--cors-origins"], ["--jobs-url"], ["--stores"]])
def test_no_password_is_shown(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert read_settings([*option, "http://me:secret@host"]) is None
    assert "secret" not in capsys.readouterr().err


def test_device_that_does_not_exist_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pastiche-serve", "--device", "cuda:99"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: device cuda:99 does not exist here")


@pytest.mark.parametrize(
    ("options", "told", "status"),
    [
        (["--uds", "{folder}/none/pastiche.sock"], "cannot listen on {folder}/none/pastiche.sock: No such file", 1),
        (["--uds", "{folder}/notes.txt"], "cannot listen on {folder}/notes.txt: Address already in use", 1),
        (["--host", "no.host.invalid"], "cannot listen on no.host.invalid:0: ", 1),
        (["--metrics-port", "0", "--metrics-host", "no.host.invalid"], "cannot listen on no.host.invalid:0: ", 1),
        (["--tls-certificate", "{folder}/notes.txt"], "tls_certificate {folder}/notes.txt", 2),
        (
            ["--tls-certificate", "{folder}/notes.txt", "--tls-key", "{folder}/notes.txt"],
            "tls_key {folder}/notes.txt",
            2,
        ),
    ],
)
def test_what_cannot_be_opened_is_one_line_that_names_it(
    options: list[str],
    told: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "notes.txt").write_text("neither a socket nor a certificate")
    given = [option.format(folder=tmp_path) for option in options]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pastiche-serve", "--device", "cpu", "--port", "0", *given])
    assert main() == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told.format(folder=tmp_path) in line


def test_help_names_every_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["pastiche-serve", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    written = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in written for name in Settings.model_fields)
    assert "Raises" not in written  # that is for programmers
