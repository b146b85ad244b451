import os
import re
import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from trainer import commands
from trainer.command_line import explain, parse
from trainer.config import SuperResolutionConfig
from trainer.errors import OptionError
from trainer.image_optimization.inversion import InvertConfig
from trainer.paper.curves import CurvesConfig
from trainer.paper.loss_networks import LossNetworksConfig
from trainer.paper.report import command
from trainer.paper.speed import SpeedConfig
from trainer.paper.super_resolution import SuperResolutionTableConfig

COMMANDS: dict[str, type[BaseModel]] = {
    "style": commands.Style,
    "super-resolution": commands.SuperResolution,
    "publish": commands.Publish,
    "evaluate": commands.Evaluate,
    "judge": commands.Judge,
    "optimize": commands.Optimize,
    "invert": commands.Invert,
    "paper speed": commands.Speed,
    "paper objective": commands.Objective,
    "paper super-resolution": commands.SuperResolutionTable,
    "paper loss-networks": commands.LossNetworks,
}

STYLE = ["style", "--name", "wave", "--content", "photos", "--style-image", "wave.jpg"]


def style(*more: str) -> commands.Style:
    found = parse([*STYLE, *more])
    assert isinstance(found, commands.Style)
    return found


def test_options_that_are_not_given_have_their_defaults() -> None:
    found = style()
    assert found.model_fields_set == {"name", "content", "style_image"}
    assert found.content == Path("photos")
    assert (found.steps, found.skip, found.run, found.resume) == (40_000, False, None, False)


READERS = {
    "evaluate": ["evaluate", "--model", "x4", "--images", "photos"],
    "judge": ["judge", "--models", "wave", "--images", "photos", "--style-image", "wave.jpg"],
    "paper objective": ["paper", "objective", "--model", "wave", "--style-image", "wave.jpg", "--content", "photos"],
    "paper super-resolution": ["paper", "super-resolution", "--sets", "Set5"],
    "paper loss-networks": [
        "paper", "loss-networks", "--loss-networks", "random", "--content", "photos", "--style-image", "wave.jpg",
    ],
}  # fmt: skip
"""The commands that read a store."""


def test_every_command_with_a_store_takes_a_url() -> None:
    assert {name for name, command in COMMANDS.items() if "store" in command.model_fields} == {
        "style", "super-resolution", *READERS,
    }  # fmt: skip
    for arguments in (STYLE, *READERS.values()):
        command = parse([*arguments, "--store", "s3://bucket/models/"])
        assert getattr(command, "store") == "s3://bucket/models"  # noqa: B009
        assert getattr(parse(arguments), "store") == Path("models")  # noqa: B009
        with pytest.raises(OptionError, match="s3://…@bucket/models: no option takes a user or a password"):
            parse([*arguments, "--store", "s3://me:secret@bucket/models"])


@pytest.mark.parametrize("reader", READERS)
def test_a_store_to_read_is_there(tmp_path: Path, reader: str) -> None:
    assert getattr(parse([*READERS[reader], "--store", str(tmp_path)]), "store") == tmp_path  # noqa: B009
    with pytest.raises(OptionError, match=r"^--store: .*/modles is no folder"):
        parse([*READERS[reader], "--store", str(tmp_path / "modles")])


def test_a_store_to_publish_into_need_not_be_there(tmp_path: Path) -> None:
    assert style("--store", str(tmp_path / "new")).store == tmp_path / "new"


def test_resume_is_a_flag() -> None:
    assert style("--resume", "--steps", "7").resume
    with pytest.raises(SystemExit, match="2"):
        style("--resume", "true")
    with pytest.raises(SystemExit, match="2"):
        parse(["paper", "speed", "--resume"])


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("True", True), ("0", False)])
def test_other_booleans_take_a_value(text: str, value: bool) -> None:
    found = style("--skip", text, "--centred", text)
    assert (found.skip, found.centred) == (value, value)


def test_several_values_follow_one_another_whatever_they_look_like() -> None:
    values = ["a,b", '"x', "[1", "null", "3", "--no.such"[2:]]
    found = parse(["paper", "super-resolution", "--sets", *values, "--models", "x4", "--scales", "4", "8"])
    assert isinstance(found, commands.SuperResolutionTable)
    assert found.sets == tuple(map(Path, values))
    assert (found.models, found.scales) == (("x4",), (4, 8))


def test_the_last_of_repeated_options_counts() -> None:
    found = parse(["paper", "speed", "--sizes", "1", "2", "--rounds", "2", "--rounds", "4", "--sizes", "3"])
    assert isinstance(found, commands.Speed)
    assert (found.sizes, found.rounds) == ((3,), 4)


@pytest.mark.parametrize("text", ["null", "None", "", "{}", "[]", '{"a": 1}', "1e3", "true"])
def test_texts_are_taken_as_they_are(text: str) -> None:
    assert style("--title", text).title == text


@pytest.mark.parametrize("prefix", ["", "PASTICHE_", "PASTICHE_TRAIN_", "TRAINER_", "style.", "style__"])
def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    expected = style()
    for name in (*commands.Style.model_fields, *(words.split()[0].replace("-", "_") for words in COMMANDS)):
        for spelt in (name, name.upper(), name.replace("_", "-")):
            monkeypatch.setenv(f"{prefix}{spelt}", '{"run": "elsewhere", "speed": {"rounds": 9}}')
    monkeypatch.setenv(f"{prefix}STEPS", "17")
    monkeypatch.setenv(f"{prefix}steps", "17")
    found = style()
    assert found == expected
    assert found.model_fields_set == expected.model_fields_set
    with pytest.raises(SystemExit, match="2"):
        parse([])


def test_a_dotenv_file_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = style()
    (tmp_path / ".env").write_text("steps=17\nSTEPS=17\nstyle={}\n")
    monkeypatch.chdir(tmp_path)
    assert style() == expected


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["paper"],
        ["paper", "table"],
        ["style"],
        STYLE[:-1],
        [*STYLE, "--no-such-option", "1"],
        [*STYLE, "--step", "1"],
        [*STYLE, "--style_size", "64"],
        [*STYLE, "unasked"],
        ["judge", "--models", "--images", "photos", "--style-image", "wave.jpg"],
        ["publish"],
    ],
)
def test_a_wrong_command_line_exits_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    assert exit_.value.code == 2
    assert "usage: pastiche-train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*STYLE, "--steps", "0"], "--steps: Input should be greater than or equal to 1"),
        ([*STYLE, "--clip", "inf"], "--clip: Input should be a finite number"),
        ([*STYLE, "--skip", "perhaps"], "--skip: Input should be a valid boolean, unable to interpret input"),
        ([*STYLE, "--accumulate", "3"], "--accumulate 3 does not divide a batch of 4"),
        (["paper", "speed", "--sizes", "256", "x"], "--sizes.1: Input should be a valid integer"),
        (["paper", "loss-networks", "--loss-networks", "random", *STYLE[3:], "--photographs", "0"], "--photographs: "),
        (["invert", "--learning-rate", "0"], "--learning-rate: Input should be greater than 0"),
    ],
)
def test_a_value_that_is_not_accepted_is_explained_with_its_option(arguments: list[str], message: str) -> None:
    with pytest.raises(OptionError) as error:
        parse(arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["--content", "--title", "--style-image"])
def test_what_the_options_of_a_run_cannot_keep_is_refused(option: str) -> None:
    with pytest.raises(OptionError, match=r"is not UTF-8, as options and the names of their files have to be$"):
        style(option, os.fsdecode(b"caf\xe9"))


def test_every_value_that_is_not_accepted_is_named() -> None:
    with pytest.raises(OptionError, match=r"^--steps: .*; --style-size: [^;]*$"):
        style("--steps", "0", "--style-size", "few")


def test_options_of_a_run_are_explained_as_those_of_the_command_line() -> None:
    with pytest.raises(ValidationError) as error:
        SuperResolutionConfig.model_validate({"name": "x4", "content": "photos", "image_size": 0})
    assert explain(error.value) == "--image-size: Input should be greater than or equal to 16"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_every_option_with_its_description_and_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # nothing is wrapped
    with pytest.raises(SystemExit) as exit_:
        parse([*name.split(), "--help"])
    assert exit_.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "\0" not in text
    assert str(COMMANDS[name].__doc__) in text
    for option, field in COMMANDS[name].model_fields.items():
        shown = re.search(rf" --{option.replace('_', '-')}( [^ ]+)*? {re.escape(str(field.description))}[^-]*", text)
        assert shown, option
        if field.default not in (None, "", (), PydanticUndefined):
            values = field.default if isinstance(field.default, tuple) else (field.default,)
            assert f"(default: {' '.join(map(str, values))})" in text[shown.start() :][: len(shown[0]) + 80], option


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, names in (([], {name.split()[0] for name in COMMANDS}), (["paper"], {"speed", "loss-networks"})):
        with pytest.raises(SystemExit, match="0"):
            parse([*arguments, "--help"])
        text = capsys.readouterr().out
        assert all(f"    {name} " in text for name in names)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("speed", SpeedConfig(sizes=(256, 40), rounds=2, loss_network="l.safetensors")),
        ("speed", SpeedConfig()),
        (
            "objective",
            CurvesConfig(
                model="wave@2",
                style_image=Path("wave.jpg"),
                content=Path("held out"),
                sizes=(256, 512),
                photographs=(3, 4),
                learning_rate=1e-5,
                method="adam",
            ),
        ),
        (
            "super-resolution",
            SuperResolutionTableConfig(sets=(Path("Set5"), Path("my set, 2")), models=("x4", "x8@1"), picture=None),
        ),
        (
            "loss-networks",
            LossNetworksConfig(
                loss_networks=("random", "a,b.safetensors"),
                content=Path("photos"),
                style_image=Path("wave.jpg"),
                models=(),
                tv_weight=0.25,
            ),
        ),
    ],
)
def test_the_command_line_of_a_report_gives_its_options(name: str, config: BaseModel) -> None:
    program, *arguments = shlex.split(command(name, config))
    assert program == "pastiche-train"
    found = parse(arguments)
    assert {option: getattr(found, option) for option in type(config).model_fields} == dict(config)


def test_a_command_gives_the_configuration_of_its_run_without_resume() -> None:
    found = parse(["invert", "--content", "a.jpg", "--layers", "relu1_2", "relu2_2", "--resume"])
    assert isinstance(found, commands.Invert)
    config = found.config(InvertConfig)
    assert type(config) is InvertConfig
    assert config.model_fields_set == {"content", "layers"}
    assert config == InvertConfig(content=Path("a.jpg"), layers=("relu1_2", "relu2_2"))
    assert "resume" not in config.model_dump()


@pytest.mark.parametrize(
    "arguments",
    [
        ["https://me:secret@host"],
        ["style", "--store", "https://me:secret@host/models"],
        ["style", "--store=https://me:secret@host/models"],
    ],
)
def test_no_password_is_shown(arguments: list[str]) -> None:
    with pytest.raises(OptionError, match=r"https://…@host.*: credentials come from the environment") as raised:
        parse(arguments)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["https://example.org/@painter", "a photograph of https://example.org/@painter?from=me@b"]
)
def test_texts_may_name_a_page_of_somebody(text: str) -> None:
    assert getattr(style("--data", text), "data") == text  # noqa: B009
