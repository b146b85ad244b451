"""The command line of `pastiche-train`: each command's options are the fields of its pydantic model.

Options are read from the arguments alone, never from the environment.
"""

import json
import re
import sys
from argparse import Action, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    CliSubCommand,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    get_subcommand,
)

from model_store.command_parser import without_passwords
from model_store.manifest import is_unicode
from model_store.published_versions import NAME_IN_WORDS, NAME_PATTERN
from trainer import commands
from trainer.commands import Command
from trainer.config import DEVICE_PATTERN
from trainer.errors import OptionError
from trainer.watch.address import ANY_PORT

NO_VALUE = "\0"
"""What pydantic-settings reads as None: a character that an argument cannot have, so that every text is a text."""

TUPLE_TYPE = re.compile(r"tuple\[(\w+),\.\.\.\]")
"""How pydantic-settings shows the type of an option that takes several values."""

IN_WORDS = {
    NAME_PATTERN: f"expected {NAME_IN_WORDS}",
    DEVICE_PATTERN: "expected auto, cpu, cuda or cuda:N",
}
"""By the pattern of an option, what it accepts."""

WITH_USER = re.compile(r"(?:--[\w-]+=)?[A-Za-z][\w+.-]*:/+[^/\s]*@")
"""An argument that is a URL with a user or a password (RFC 3986, section 3.2.1)."""

EMPTY_DEFAULT = re.compile(rf" \(default: (\(\)|{NO_VALUE})?\)$")
TUPLE_DEFAULT = re.compile(r" \(default: \((.+?),?\)\)$")


VALUE_MAY_BE_LEFT_OUT = {"--watch": {"nargs": "?", "const": ANY_PORT, "metavar": "HOST:PORT"}}
"""Options whose value may be left out, and what they are then."""


class Paper(BaseModel):
    """Rerun the paper's tables and figures: Markdown, CSV and PNG."""

    speed: CliSubCommand[commands.Speed]
    objective: CliSubCommand[commands.Objective]
    super_resolution: CliSubCommand[commands.SuperResolutionTable]
    loss_networks: CliSubCommand[commands.LossNetworks]


class CommandLine(BaseSettings):
    """Train networks, publish and measure them; paint by optimisation instead; rerun the paper."""

    model_config = SettingsConfigDict(
        cli_prog_name="pastiche-train",
        cli_kebab_case=True,
        cli_enforce_required=True,
        cli_hide_none_type=True,
        cli_use_class_docs_for_groups=True,
    )

    style: CliSubCommand[commands.Style]
    super_resolution: CliSubCommand[commands.SuperResolution]
    answers: CliSubCommand[commands.Answers]
    degrade: CliSubCommand[commands.Degrade]
    publish: CliSubCommand[commands.Publish]
    evaluate: CliSubCommand[commands.Evaluate]
    judge: CliSubCommand[commands.Judge]
    optimize: CliSubCommand[commands.Optimize]
    invert: CliSubCommand[commands.Invert]
    paper: CliSubCommand[Paper]

    @classmethod
    def settings_customise_sources(cls, *_: Any, **__: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """No source but the command line: neither the environment nor files."""
        return ()


def parse(arguments: Sequence[str] | None = None) -> Command:
    """The command that the arguments (default: of the process) ask for, with its options.

    Raises OptionError for a value that an option does not accept. Exits with 0 after --help, and with 2 where the
    arguments are no command line: an unknown command or option, a missing option or value.
    """
    source = CliSettingsSource[Any](
        CommandLine,
        cli_parse_none_str=NO_VALUE,
        add_argument_method=_add_argument,
        add_subparsers_method=_add_required_subparsers,
    )
    given = list(sys.argv[1:] if arguments is None else arguments)
    _require_unicode(given)
    _require_no_passwords(given)
    try:
        command = get_subcommand(CliApp.run(CommandLine, cli_args=given, cli_settings_source=source))
    except ValidationError as error:
        raise OptionError(explain(error, within_command=True)) from error
    if isinstance(command, Paper):
        command = get_subcommand(command)
    assert isinstance(command, Command)  # argparse requires a command
    return command


def _require_unicode(arguments: Sequence[str]) -> None:
    """Raise OptionError for what could not be kept among the options of a run."""
    wrong = [argument for argument in arguments if not is_unicode(argument)]
    if wrong:
        raise OptionError(f"{wrong[0]!r} is not UTF-8, as options and the names of their files have to be")


def _require_no_passwords(arguments: Sequence[str]) -> None:
    """Raise OptionError for a URL with a password, which the message of a parser would repeat, or a run keep."""
    found = next((each for each in arguments if WITH_USER.match(each)), None)
    if found is not None:
        shown = without_passwords(found)
        raise OptionError(f"{shown}: no option takes a user or a password: credentials come from the environment")


def explain(error: ValidationError, *, within_command: bool = False) -> str:
    """Every complaint as `--option: message`, on one line.

    `within_command`: the locations of the error begin with the names of the command.
    """
    complaints = []
    for fault in error.errors():
        location = [str(part) for part in fault["loc"]]
        if within_command:
            location = location[2 if location[:1] == ["paper"] else 1 :]
        option = f"--{'.'.join(location).replace('_', '-')}: " if location else ""
        complaints.append(option + _complaint(fault))
    return "; ".join(complaints)


def _complaint(fault: ErrorDetails) -> str:
    """What is wrong with a value, in words also where a pattern says what is accepted."""
    accepted = IN_WORDS.get(fault.get("ctx", {}).get("pattern", ""))
    if accepted:
        return f"{accepted}, not {fault['input']!r}"
    return fault["msg"].removeprefix("Value error, ")


class StoreValues(Action):
    """Takes one value or more, as a JSON array: pydantic-settings would split other lists at commas."""

    def __call__(
        self, _: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None, __: str | None = None
    ) -> None:
        """Replace what the option had before."""
        setattr(namespace, self.dest, json.dumps(values))


def _add_argument(group: Any, *names: str, **options: Any) -> Action:
    """Add an option; one whose field is a tuple takes its values one after another, a flag takes none."""
    item = TUPLE_TYPE.fullmatch(options.get("metavar", ""))
    if item:
        options |= {"action": StoreValues, "nargs": "+", "metavar": item[1]}
    if options.get("action") is BooleanOptionalAction:
        options["action"] = "store_true"
    options |= VALUE_MAY_BE_LEFT_OUT.get(names[-1], {})
    options["help"] = _readable_default(options["help"])
    return ArgumentParser.add_argument(group, *names, **options)


def _readable_default(text: str) -> str:
    """The help of an option without an empty default, and with a tuple's values as they are typed."""
    text = EMPTY_DEFAULT.sub("", text)
    return TUPLE_DEFAULT.sub(lambda values: " (default: " + re.sub("[,']", "", values[1]) + ")", text)


def _add_required_subparsers(parser: ArgumentParser, **options: Any) -> Any:
    return ArgumentParser.add_subparsers(parser, required=True, **options)
