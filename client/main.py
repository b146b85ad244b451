"""pastiche stylize STYLE … | upscale SCALE …: paint or enlarge files and folders."""

import argparse
import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from client.address import DEFAULT_SERVER, key_headers, parse_address, without_passwords
from client.async_client import AsyncClient
from client.batch import Batch, BatchCounts
from client.errors import PasticheError
from client.files import Item, UsageError, plan, with_format
from client.formats import VIDEO_SUFFIXES
from client.models import named_models
from client.request import Request
from client.retries import RetryPolicy

DAY = 86400

EPILOG = """Every option of the API is an option here, with an equals sign: --quality=85 --format=webp. What is there
already is not done again, so that the same command goes on where it was interrupted. Exit status: 0 if every image has
a result, 1 if some have none, 2 if the command makes no sense or names an unknown model, 130 after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; EPILOG lists the values."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    try:
        _require_text([options.target, *unknown])
        query = _parse_query(unknown)
        _require_target(options.command, options.target)
        if any(path.suffix.lower() in VIDEO_SUFFIXES for path in options.images):
            return _convert_video(options, query)
        items = plan(options.images, options.output)
        request = _build_request(options, with_format(query, items))
        counts = asyncio.run(_run(options, request, items))
    except UsageError as error:
        print(f"error: {without_passwords(str(error))}", file=sys.stderr)
        return 2
    except PasticheError as error:
        print(f"error: {without_passwords(str(error))}", file=sys.stderr)
        return 1
    if counts.outage_reason:
        print(f"error: {counts.outage_reason}", file=sys.stderr)
    print(_summary(counts), file=sys.stderr)
    return 0 if counts.complete else 1


def _convert_video(options: argparse.Namespace, query: dict[str, str]) -> int:
    """Always in this process. Raises UsageError for more than one video, and for a result that is no file."""
    if len(options.images) > 1:
        raise UsageError("videos are done one by one: name a single one, and -o with the file of its result")
    try:
        from pastiche.video.command import run  # noqa: PLC0415 # PyTorch takes seconds; PyAV is an extra
    except ImportError as error:
        raise UsageError(f"videos need an extra: pip install 'pastiche[video]' ({error})") from error
    source = options.images[0]
    switches = {"overwrite": options.overwrite, "quiet": options.quiet}
    return run(options.command, options.target, source, options.output, query, **switches)


async def _run(options: argparse.Namespace, request: Request, items: Sequence[Item]) -> BatchCounts:
    names = named_models(options.command, options.target, request.query)
    async with _client(options, names) as client:
        batch = Batch(
            client,
            request,
            RetryPolicy(options.retries, options.patience),
            names,
            parallel=options.parallel,
            overwrite=options.overwrite,
            quiet=options.quiet,
        )
        return await batch.run(items)


@asynccontextmanager
async def _client(options: argparse.Namespace, names: Sequence[str]) -> AsyncIterator[AsyncClient]:
    if options.local:
        from client.local import local  # noqa: PLC0415 # what a remote service does not need takes its time

        async with local(names) as client:
            yield client
        return
    async with AsyncClient(options.server, key=options.key) as client:
        yield client


def _build_request(options: argparse.Namespace, query: dict[str, str]) -> Request:
    target = quote(options.target, safe=":,")  # the separators of mixed styles
    return Request("POST", f"/v1/{options.command}/{target}", query, timeout=options.timeout)


def _require_text(arguments: Sequence[str]) -> None:
    """Raises UsageError for an argument that no request can have: with bytes that the locale does not know."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{argument!r} is no text in {sys.getfilesystemencoding()}") from None


def _require_target(command: str, text: str) -> None:
    """Raises UsageError for what is no scale or no style; which ones there are only the service knows."""
    if command == "stylize":
        names = [part.partition(":")[0] for part in text.split(",")]
        if any("/" in name or name in ("", ".", "..") for name in names):
            accepted = "a name is accepted, such as great-wave, or several: great-wave:0.7,the-scream:0.3"
            raise UsageError(f"{text!r} is no style; {accepted}")
    elif not 1 <= _parse_number(text) < math.inf:
        raise UsageError(f"{text!r} is no scale; a number of 1 or more is accepted, such as 4")


def _parse_query(unknown: Sequence[str]) -> dict[str, str]:
    """Options unknown to this program, as query parameters of the service. Raises UsageError for any other argument."""
    pairs = [option.removeprefix("--").partition("=") for option in unknown if option.startswith("--")]
    invalid = [option for option in unknown if not option.startswith("--") or "=" not in option]
    if invalid:
        raise UsageError(f"{' '.join(invalid)}: options of the service are written as --quality=85")
    return {name.replace("-", "_"): value for name, _, value in pairs}


def _summary(counts: BatchCounts) -> str:
    parts = {
        "written": counts.written,
        "there already": counts.skipped,
        "failed": counts.failed,
        "not tried": counts.not_tried,
    }
    return ", ".join(f"{count} {what}" for what, count in parts.items() if count) or "nothing to do"


class _Parser(argparse.ArgumentParser):
    """A parser, also of the commands below it, whose messages show no passwords."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser."""
        super().error(without_passwords(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("pastiche", description=__doc__, epilog=EPILOG, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="stylize | upscale")
    for name, target, meaning in (
        ("stylize", "STYLE", "a style of the service, as in GET /v1/models: great-wave"),
        ("upscale", "SCALE", "how many times the sides grow: 4"),
    ):
        command = commands.add_parser(name, help=f"{name} images", epilog=EPILOG, allow_abbrev=False)
        command.add_argument("target", metavar=target, help=meaning)
        _add_options(command)
    return parser


def _add_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("images", nargs="+", type=_path, metavar="IMAGE", help="files, or folders with all below them")
    add("-o", "--output", type=_path, required=True, metavar="OUT", help="a folder; of a single image also a file")
    where = command.add_mutually_exclusive_group()
    server = os.environ.get("PASTICHE_SERVER") or DEFAULT_SERVER
    where.add_argument("--server", type=_address, default=server, metavar="URL", help="by default %(default)s")
    where.add_argument("--local", action="store_true", help="without a server: the networks run in this process")
    add("--parallel", type=_parallel, default=4, metavar="N", help="images on their way at the same time (%(default)s)")
    add("--retries", type=_retries, default=10, metavar="N", help="for each image, of a busy service (%(default)s)")
    add("--patience", type=_patience, default=60, metavar="SECONDS", help="with a service that is away (%(default)s)")
    add("--timeout", type=_timeout, metavar="SECONDS", help="for each image, as X-Request-Timeout")
    key = os.environ.get("PASTICHE_KEY")
    add("--key", type=_key, default=key, help="an API key of the service, by default PASTICHE_KEY")
    add("--overwrite", action="store_true", help="do again what is there already")
    add("--quiet", action="store_true", help="no progress bar")


def _path(text: str) -> Path:
    """Not of an empty text, as a variable that is not set gives, which Path takes for the folder that it is in.

    A ~ is the home folder also after an equals sign, where shells leave it alone.
    """
    if not text:
        raise argparse.ArgumentTypeError("a name is empty; this folder is written .")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(
            f"{text} begins with no home folder; a file of such a name is written as {Path.cwd() / text}"
        ) from None


def _parallel(text: str) -> int:
    return _parse_count(text, 1, 256)


def _retries(text: str) -> int:
    return _parse_count(text, 0, 1000)


def _parse_count(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text} is no number from {least} to {most}")
    return int(text)


def _patience(text: str) -> float:
    if not 0 <= (seconds := _parse_number(text)) <= DAY:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds from 0 to {DAY}")
    return seconds


def _timeout(text: str) -> float:
    if not 0 < (seconds := _parse_number(text)) <= DAY:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0, of at most {DAY}")
    return seconds


def _parse_number(text: str) -> float:
    """The number, or NaN, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _address(text: str) -> str:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _key(text: str) -> str:
    try:
        key_headers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
