"""The command `pastiche-serve`: reads the settings, and serves in this process or in several."""

import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from model_store.command_parser import without_passwords
from service.http.listeners import try_addresses
from service.settings import Settings, nearest, wrong_values


def main() -> int:
    """Serve with the settings of the command line, the environment and a file.

    The exit status is 0 after a requested stop, 1 after a failure, 2 where the settings are wrong.
    """
    settings = read_settings(sys.argv[1:])
    if settings is None:
        return 2
    try:
        try_addresses(settings)
    except OSError as error:
        _print_error(str(error))
        return 1
    if settings.processes > 1:
        from service.supervisor import supervise  # noqa: PLC0415 # it needs no torch

        return supervise(settings, sys.argv[1:])
    from service.server import run  # noqa: PLC0415 # the import takes seconds

    return run(settings)


def read_settings(arguments: Sequence[str]) -> Settings | None:
    """The settings of a command line, the environment and a file; None after a message where they are wrong."""
    try:
        _require_options(arguments)
        return Settings(
            _cli_parse_args=[*arguments],
            _cli_prog_name="pastiche-serve",
            _cli_kebab_case=True,
            _cli_exit_on_error=False,  # argparse would print all options, and end
        )
    except ValidationError as error:
        for fault in wrong_values(error):
            option = "".join(f"--{part}: ".replace("_", "-") for part in fault["loc"][:1])
            _print_error(f"{option}{_told(fault)}")
    except SettingsError as error:
        _print_error(str(error).removeprefix("error parsing CLI: "))
    return None


def _print_error(message: str) -> None:
    print(f"error: {without_passwords(message)}", file=sys.stderr)


def _told(fault: ErrorDetails) -> str:
    """What is wrong with a value; pydantic does not say which file is none."""
    named = f": {fault['input']}" if fault["type"] == "path_not_file" else ""
    return fault["msg"].removeprefix("Value error, ") + named


def _require_options(arguments: Sequence[str]) -> None:
    """Raise SettingsError for an option that is none, where argparse would print all of them."""
    known = ["--help", *(f"--{name.replace('_', '-')}" for name in Settings.model_fields)]
    for option in (argument.partition("=")[0] for argument in arguments if argument.startswith("--")):
        if option not in known:
            raise SettingsError(f"there is no option {option}; {nearest(option.replace('_', '-'), known)}")
