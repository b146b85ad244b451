from pathlib import Path

import pytest

from model_store.command_parser import CommandParser, path_argument, without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("invalid value: 'https://me:se/cret@host/x'", "invalid value: 'https://…@host/x'"),
        ("http:/me:secret@host/a.jpg is no file", "http:/…@host/a.jpg is no file"),
        ("https://token@host, s3://bucket/a b@c", "https://…@host, s3://bucket/a b@c"),
        ("wave@2 is not in s3://bucket", "wave@2 is not in s3://bucket"),
    ],
)
def test_what_stands_before_hosts_is_left_out(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


def test_commands_below_a_parser_show_no_passwords_either(capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser(prog="x")
    parser.add_subparsers(required=True).add_parser("run").add_argument("--count", type=int)
    for arguments in (["run", "--count", "http://me:secret@host"], ["http://me:secret@host"]):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(arguments)
        told = capsys.readouterr().err
        assert "http://…@host" in told
        assert "secret" not in told


def test_paths_are_neither_empty_nor_of_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    parser = CommandParser(prog="x")
    parser.add_argument("--out", type=path_argument)
    assert parser.parse_args(["--out=~/results"]).out == Path("/home/me/results")
    for wrong, told in {"": "this folder is written .", "~nobody0/x": "~nobody0/x begins with no home folder"}.items():
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([f"--out={wrong}"])
        assert told in capsys.readouterr().err
