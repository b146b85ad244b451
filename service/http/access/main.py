"""The command `pastiche-keys`: makes an API key, prints it once, and prints what the keys file must say of it."""

import argparse
import sys
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from model_store.command_parser import CommandParser
from service.http.access.api_key import KeyName, Right, digest, new_key


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the key on standard error and its lines for the file on standard output: `pastiche-keys x >> keys.toml`."""
    options = _parser().parse_args(arguments)
    key, rights = new_key(), ", ".join(f'"{right}"' for right in options.right or [Right.USE])
    print(f"the key, which nothing stores: {key}", file=sys.stderr)
    print(f'[keys.{options.name}]\nsha256 = "{digest(key)}"\nrights = [{rights}]')
    return 0


def _name(text: str) -> str:
    try:
        return TypeAdapter(KeyName).validate_python(text)
    except ValidationError as error:
        allowed = "1 to 32 letters, digits, hyphens and underscores, a letter or digit first"
        raise argparse.ArgumentTypeError(f"a name has {allowed}") from error


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="pastiche-keys", description="Make an API key.")
    parser.add_argument("name", type=_name, help="who gets the key: appears in the log, in metrics, and owns jobs")
    parser.add_argument(
        "--right",
        action="append",
        choices=list(Right),
        help="what it may be used for; several times for several (default: use)",
    )
    return parser
