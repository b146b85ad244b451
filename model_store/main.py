"""The command `pastiche-models`: lists, shows, describes, verifies, imports, exports, promotes and copies models."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from model_store.card import describe_tiles
from model_store.command_parser import CommandParser, path_argument, without_passwords
from model_store.error_messages import in_words
from model_store.errors import StoreError
from model_store.exporters.exporting import FORMATS as TARGETS
from model_store.exporters.exporting import export_model
from model_store.ignored_entries import describe_ignored_entries
from model_store.importers.checkpoint import FORMATS
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from model_store.manifest import Manifest, is_unicode, parse_reference, parse_version
from model_store.mirroring import mirror
from model_store.published_versions import NAME_IN_WORDS, valid_name
from model_store.remote.location import SHIPPED, SHIPPED_STORE, Location, parse_location
from model_store.remote.opening import open_store
from model_store.remote.remote_store import RemoteStore
from model_store.store import ModelStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or 1 after a StoreError or an OSError, whose message goes to stderr."""
    options = _parser().parse_args(arguments)
    try:
        if isinstance(options.store, Path) and not options.store.is_dir() and options.command is not _import:
            raise StoreError(
                f"{options.store} is no folder; --store says where the models are: a folder, a URL, or {SHIPPED}"
            )
        command: Callable[[ModelStore, argparse.Namespace], int] = options.command
        return command(open_store(options.store), options)
    except (StoreError, OSError) as error:
        return _print_error(error)


def _list(store: ModelStore, _: argparse.Namespace) -> int:
    def summarize(name: str) -> str:
        manifest = store.manifest(name)
        others = ", ".join(str(version) for version in store.versions(name))
        return f"{manifest.label:32} ×{manifest.scale}  {manifest.task:16}  versions {others:8}  {manifest.title}"

    _warn_of_foreign(store)
    return _print_each(store.names(), summarize)


def _warn_of_foreign(store: ModelStore) -> None:
    """Say what lies in a store and is no model: perhaps another folder was meant."""
    if foreign := store.foreign():
        print(f"warning: {describe_ignored_entries(foreign)}", file=sys.stderr)


def _show(store: ModelStore, options: argparse.Namespace) -> int:
    print(store.manifest(*_chosen(options)).model_dump_json(indent=2))
    return 0


def _card(store: ModelStore, options: argparse.Namespace) -> int:
    print(store.card(*_chosen(options)), end="")
    return 0


def _verify(store: ModelStore, options: argparse.Namespace) -> int:
    chosen, version = (None, None) if options.name is None else _chosen(options)

    def verify(name: str) -> str:
        manifest = store.verify(name, version)
        return f"{manifest.label}: files, weights and golden output are sound ({manifest.digest})"

    names = store.names() if chosen is None else [chosen]
    if not names:
        raise StoreError(f"{store.location} holds no models: there is nothing to verify")
    return _print_each(names, verify)


def _promote(store: ModelStore, options: argparse.Namespace) -> int:
    name, version = _chosen(options)
    if version is None:
        there = f"{store.versions(name)}, of which {store.current(name)} is current"
        raise StoreError(f"promote takes a version, NAME VERSION or NAME@VERSION; of {name!r} there are {there}")
    store.promote(name, version)
    print(f"{name}@{version} is current")
    return 0


def _rollback(store: ModelStore, options: argparse.Namespace) -> int:
    if "@" in options.name:
        raise StoreError(
            "rollback takes NAME alone: it goes to the version before the current one; promote goes to any"
        )
    print(f"{options.name}@{store.rollback(options.name)} is current")
    return 0


def _import(store: ModelStore, options: argparse.Namespace) -> int:
    if not valid_name(options.name):
        raise StoreError(f"{options.name!r} is no name of a model; expected {NAME_IN_WORDS}")
    _require_writable(store, options.name)
    labels = Labels(options.name, options.title, options.license, options.author, options.source, options.output)
    manifest = import_checkpoint(store, options.file, labels)
    print(f"{manifest.label} is current: {_describe_import(manifest)}")
    if not manifest.license:
        print(f"warning: {manifest.label} states no licence; --license says what its author allows", file=sys.stderr)
    return 0


def _require_writable(store: ModelStore, name: str) -> None:
    """Raise StoreError where a network could not be published once it is understood, which takes minutes."""
    try:
        store.require_writable(name)
    except OSError as error:
        raise StoreError(f"--store {store.location} cannot be written: {error.strerror}: {error.filename}") from error


def _describe_import(manifest: Manifest) -> str:
    """How the file was understood, and how its images will be cut."""
    layout = manifest.origin.layout if manifest.origin else "exported by Pastiche"
    facts = [layout, f"×{manifest.scale}", f"{manifest.parameters:,} parameters"]
    assumptions = manifest.origin.assumptions if manifest.origin else {}
    assumed = [f"{what}: {how}" for what, how in assumptions.items()]
    return "; ".join([", ".join(facts), *assumed, f"tiles {describe_tiles(manifest)}"])


def _export(store: ModelStore, options: argparse.Namespace) -> int:
    manifest = export_model(store, *_reference(options.model), options.to, options.out)
    print(f"{manifest.label} is written to {options.out}: {TARGETS[options.to]}")
    return 0


def _mirror(store: ModelStore, options: argparse.Namespace) -> int:
    target = open_store(options.target)
    if not store.names():
        _warn_of_foreign(store)
        raise StoreError(f"{store.location} holds no models: there is nothing to copy")
    added = mirror(store, target)
    print(f"{target.location} has all models of {store.location}; added: {', '.join(added) or 'none'}")
    return 0


def _prune(store: ModelStore, options: argparse.Namespace) -> int:
    if not isinstance(store, RemoteStore):
        raise StoreError(f"{store.location} is a folder: there publishers remove what killed ones have left")
    found = store.unindexed(time.time() - 3600 * options.hours)
    if options.delete:
        found = [file for file in found if store.delete(file)]
    for file in found:
        print(f"{file.path}  {file.size:,} bytes")
    told = "deleted" if options.delete else "would be deleted by --delete"
    print(f"{len(found)} files of {store.location} that belong to no version, older than {options.hours:g} h: {told}")
    return 0


def _chosen(options: argparse.Namespace) -> tuple[str, int | None]:
    """The model and the version of NAME, NAME VERSION or NAME@VERSION, as they are printed. Raises StoreError."""
    name, version = _reference(options.name)
    if version is None or options.version is None:
        return name, options.version if version is None else version
    raise StoreError(f"{options.name} has a version already, and {options.version} is given besides; give one")


def _reference(text: str) -> tuple[str, int | None]:
    reference = parse_reference(text)
    if reference is None:
        raise StoreError(f"{text[:80]!r} is no model; it is written NAME or NAME@VERSION, such as x4@3")
    return reference


def _print_each(names: Sequence[str], describe: Callable[[str], str]) -> int:
    """Print a line for each model. Returns 1 if any of them raised StoreError; the others are printed all the same."""
    status = 0
    for name in names:
        try:
            print(describe(name))
        except StoreError as error:
            status = _print_error(error)
    return status


def _print_error(error: StoreError | OSError) -> int:
    print(f"error: {without_passwords(in_words(error))}", file=sys.stderr)
    return 1


def store_location(store: str) -> Location:
    """The value of an option. Raises ArgumentTypeError for what is the place of no store."""
    try:
        return SHIPPED_STORE if store == SHIPPED else parse_location(store)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="pastiche-models", description="Look into a model store.")
    help_store = (
        f"the store's folder (default: models), or its URL, such as s3://bucket/models; {SHIPPED!r} for the networks "
        "that come with Pastiche"
    )
    parser.add_argument("--store", type=store_location, default=Path("models"), help=help_store)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, name, version, summary in (
        (_list, None, None, "the models and their versions"),
        (_show, "name", "?", "the manifest of a model"),
        (_card, "name", "?", "the model card of a model, as Markdown"),
        (_verify, "?", "?", "check files, weights and golden outputs; of one model or of all"),
        (_promote, "name", "?", "make a version the current one"),
        (_rollback, "name", None, "make the version before the current one current"),
    ):
        subparser = commands.add_parser(command.__name__.strip("_"), help=summary)
        subparser.set_defaults(command=command)
        if name:
            subparser.add_argument("name", nargs="?" if name == "?" else None)
        if version:
            subparser.add_argument("version", type=_version, nargs=version, help="also as NAME@VERSION")
    _add_import(commands)
    _add_export(commands)
    _add_mirror(commands)
    _add_prune(commands)
    for subparser in commands.choices.values():  # as people write it, too, after the command
        subparser.add_argument("--store", type=store_location, default=argparse.SUPPRESS, help=help_store)
    return parser


def _add_import(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    subparser = commands.add_parser("import", help="publish the network of a checkpoint of another project")
    subparser.set_defaults(command=_import)
    subparser.add_argument(
        "file", type=path_argument, help=f"{FORMATS}, whatever its keys: the layout is recognised by them"
    )
    subparser.add_argument("--name", required=True, help="of the model, as in the paths of the service")
    subparser.add_argument("--title", type=_text, default="", help="for people")
    subparser.add_argument("--license", type=_text, default="", help="SPDX identifier of the licence of the weights")
    subparser.add_argument("--author", type=_text, default="", help="who made the network")
    subparser.add_argument("--source", type=_text, default="", help="where the file is published")
    subparser.add_argument(
        "--output", choices=("linear", "tanh"), help="what ends the network, if its keys do not tell"
    )


def _add_export(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    subparser = commands.add_parser("export", help="write a model in a format of other programs")
    subparser.set_defaults(command=_export)
    subparser.add_argument("model", metavar="NAME[@VERSION]", help="by default the current version")
    formats = "; ".join(f"{name}: {what}" for name, what in TARGETS.items())
    subparser.add_argument("--to", choices=TARGETS, required=True, help=formats)
    subparser.add_argument(
        "--out", type=path_argument, required=True, help="the file, or folder, to write; it must not exist"
    )


def _add_mirror(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    subparser = commands.add_parser(
        "mirror", help="copy the store to another folder or URL, and make it promote the same"
    )
    subparser.set_defaults(command=_mirror)
    help_target = (
        "a folder; s3://bucket/models; or file:///srv/models, which a web server can serve as an https:// store"
    )
    subparser.add_argument("target", type=store_location, help=help_target)


def _add_prune(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    subparser = commands.add_parser("prune", help="find what killed publishers have left in a store at a URL")
    subparser.set_defaults(command=_prune)
    help_hours = "age from which files count as left behind, at least 1: longer than any publisher takes (default: 24)"
    subparser.add_argument("--hours", type=_hours, default=24.0, help=help_hours)
    subparser.add_argument("--delete", action="store_true", help="delete it, while nobody runs mirror")


def _version(text: str) -> int:
    version = parse_version(text)
    if version is None:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number of a version, such as 3")
    return version


def _text(text: str) -> str:
    if not is_unicode(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8, as a manifest is")
    return text


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 1 <= hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours from 1 on")
    return hours
