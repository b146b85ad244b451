"""python -m model_store list | show | verify | promote | rollback, over the store of --store."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model_store.errors import StoreError
from model_store.store import ModelStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 with a message on stderr where the store refuses."""
    options = _parser().parse_args(arguments)
    try:
        options.command(ModelStore(options.store), options)
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _list(store: ModelStore, _: argparse.Namespace) -> None:
    for name in store.names():
        manifest = store.manifest(name)
        others = ", ".join(str(version) for version in store.versions(name))
        print(f"{manifest.label:32} ×{manifest.scale}  {manifest.task:16}  versions {others:8}  {manifest.title}")


def _show(store: ModelStore, options: argparse.Namespace) -> None:
    print(store.manifest(options.name, options.version).model_dump_json(indent=2))


def _verify(store: ModelStore, options: argparse.Namespace) -> None:
    named = [(options.name, options.version)] if options.name else [(name, None) for name in store.names()]
    for name, version in named:
        manifest = store.verify(name, version)
        print(f"{manifest.label}: files, weights and golden output are sound ({manifest.digest})")


def _promote(store: ModelStore, options: argparse.Namespace) -> None:
    store.promote(options.name, options.version)
    print(f"{options.name}@{options.version} is current")


def _rollback(store: ModelStore, options: argparse.Namespace) -> None:
    print(f"{options.name}@{store.rollback(options.name)} is current")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pastiche-models", description="Look into a model store.")
    parser.add_argument("--store", type=Path, default=Path("models"), help="the store's folder (default: models)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, name, version, summary in (
        (_list, None, None, "the models and their versions"),
        (_show, "name", "?", "the manifest of a model"),
        (_verify, "?", "?", "check files, weights and golden outputs; of one model or of all"),
        (_promote, "name", "version", "make a version the current one"),
        (_rollback, "name", None, "make the version before the current one current"),
    ):
        sub = commands.add_parser(command.__name__.strip("_"), help=summary)
        sub.set_defaults(command=command)
        if name:
            sub.add_argument("name", nargs="?" if name == "?" else None)
        if version:
            sub.add_argument("version", type=int, nargs="?" if version == "?" else None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
