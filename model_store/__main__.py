"""python -m model_store list | show | verify | promote | rollback, over the store of --store."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from model_store.errors import StoreError
from model_store.store import SHIPPED_STORE, ModelStore

SHIPPED = "shipped"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 with a message on stderr for whatever the store refuses."""
    options = _parser().parse_args(arguments)
    try:
        if not options.store.is_dir():
            raise StoreError(f"{options.store} is no folder; --store says where the models are")
        command: Callable[[ModelStore, argparse.Namespace], int] = options.command
        return command(ModelStore(options.store), options)
    except StoreError as error:
        return _complain(error)


def _list(store: ModelStore, _: argparse.Namespace) -> int:
    def line(name: str) -> str:
        manifest = store.manifest(name)
        others = ", ".join(str(version) for version in store.versions(name))
        return f"{manifest.label:32} ×{manifest.scale}  {manifest.task:16}  versions {others:8}  {manifest.title}"

    return _for_each(store.names(), line)


def _show(store: ModelStore, options: argparse.Namespace) -> int:
    print(store.manifest(options.name, options.version).model_dump_json(indent=2))
    return 0


def _verify(store: ModelStore, options: argparse.Namespace) -> int:
    def verdict(name: str) -> str:
        manifest = store.verify(name, options.version)
        return f"{manifest.label}: files, weights and golden output are sound ({manifest.digest})"

    names = [options.name] if options.name else store.names()
    if not names:
        raise StoreError(f"{store.root} holds no models: there is nothing to verify")
    return _for_each(names, verdict)


def _promote(store: ModelStore, options: argparse.Namespace) -> int:
    store.promote(options.name, options.version)
    print(f"{options.name}@{options.version} is current")
    return 0


def _rollback(store: ModelStore, options: argparse.Namespace) -> int:
    print(f"{options.name}@{store.rollback(options.name)} is current")
    return 0


def _for_each(names: Sequence[str], line: Callable[[str], str]) -> int:
    """Print a line for each model; one that is broken is complained about, and the others go on."""
    status = 0
    for name in names:
        try:
            print(line(name))
        except StoreError as error:
            status = _complain(error)
    return status


def _complain(error: StoreError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


def _root(store: str) -> Path:
    return SHIPPED_STORE if store == SHIPPED else Path(store)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pastiche-models", description="Look into a model store.")
    help_store = f"the store's folder (default: models); {SHIPPED!r} for the networks that come with Pastiche"
    parser.add_argument("--store", type=_root, default=Path("models"), help=help_store)
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
