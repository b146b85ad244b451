"""The command `pastiche-models`: lists, shows, describes, verifies, promotes and rolls back the models of a store."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from model_store.errors import StoreError
from model_store.foreign import describe_foreign
from model_store.store import SHIPPED_STORE, ModelStore

SHIPPED = "shipped"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or 1 after a StoreError, whose message goes to stderr."""
    options = _parser().parse_args(arguments)
    try:
        if not options.store.is_dir():
            raise StoreError(f"{options.store} is no folder; --store says where the models are")
        command: Callable[[ModelStore, argparse.Namespace], int] = options.command
        return command(ModelStore(options.store), options)
    except StoreError as error:
        return _print_error(error)


def _list(store: ModelStore, _: argparse.Namespace) -> int:
    def summarize(name: str) -> str:
        manifest = store.manifest(name)
        others = ", ".join(str(version) for version in store.versions(name))
        return f"{manifest.label:32} ×{manifest.scale}  {manifest.task:16}  versions {others:8}  {manifest.title}"

    if foreign := store.foreign():
        print(f"warning: {describe_foreign(foreign)}", file=sys.stderr)
    return _print_each(store.names(), summarize)


def _show(store: ModelStore, options: argparse.Namespace) -> int:
    print(store.manifest(options.name, options.version).model_dump_json(indent=2))
    return 0


def _card(store: ModelStore, options: argparse.Namespace) -> int:
    print(store.card(options.name, options.version), end="")
    return 0


def _verify(store: ModelStore, options: argparse.Namespace) -> int:
    def verify(name: str) -> str:
        manifest = store.verify(name, options.version)
        return f"{manifest.label}: files, weights and golden output are sound ({manifest.digest})"

    names = [options.name] if options.name else store.names()
    if not names:
        raise StoreError(f"{store.root} holds no models: there is nothing to verify")
    return _print_each(names, verify)


def _promote(store: ModelStore, options: argparse.Namespace) -> int:
    store.promote(options.name, options.version)
    print(f"{options.name}@{options.version} is current")
    return 0


def _rollback(store: ModelStore, options: argparse.Namespace) -> int:
    print(f"{options.name}@{store.rollback(options.name)} is current")
    return 0


def _print_each(names: Sequence[str], describe: Callable[[str], str]) -> int:
    """Print a line for each model. Returns 1 if any of them raised StoreError; the others are printed all the same."""
    status = 0
    for name in names:
        try:
            print(describe(name))
        except StoreError as error:
            status = _print_error(error)
    return status


def _print_error(error: StoreError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


def _store_folder(store: str) -> Path:
    return SHIPPED_STORE if store == SHIPPED else Path(store)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pastiche-models", description="Look into a model store.")
    help_store = f"the store's folder (default: models); {SHIPPED!r} for the networks that come with Pastiche"
    parser.add_argument("--store", type=_store_folder, default=Path("models"), help=help_store)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, name, version, summary in (
        (_list, None, None, "the models and their versions"),
        (_show, "name", "?", "the manifest of a model"),
        (_card, "name", "?", "the model card of a model, as Markdown"),
        (_verify, "?", "?", "check files, weights and golden outputs; of one model or of all"),
        (_promote, "name", "version", "make a version the current one"),
        (_rollback, "name", None, "make the version before the current one current"),
    ):
        subparser = commands.add_parser(command.__name__.strip("_"), help=summary)
        subparser.set_defaults(command=command)
        if name:
            subparser.add_argument("name", nargs="?" if name == "?" else None)
        if version:
            subparser.add_argument("version", type=int, nargs="?" if version == "?" else None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
