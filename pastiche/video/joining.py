"""Joins encoded segments, and copies sound and subtitles beside them, without encoding anything again."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from pastiche.video.containers import open_input, open_output
from pastiche.video.errors import VideoError
from pastiche.video.journal import Journal
from service.errors import InvalidRequest

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that are written, by the extensions of their files."""

OWN_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "rotate", "duration"})
"""What a container says of itself; the rest of its metadata, such as the title, is copied."""


LEAD = Fraction(1, 10)
"""Seconds of sound before a video's begin that are copied, though they are not heard: decoders need some, Opus 0.08."""


@dataclass(frozen=True)
class Copied:
    """A packet for a stream of the result, and when it is decoded, in seconds."""

    seconds: Fraction
    packet: "Packet[Any]"


def require_extension(target: Path) -> None:
    """Raise InvalidRequest where the name of the result is no video's."""
    if target.suffix.lower() not in FORMATS:
        raise InvalidRequest(f"{target} has no extension of a video; these are written: {', '.join(FORMATS)}")


def require_container(target: Path, codec: str, streams: Sequence[Stream]) -> None:
    """Raise VideoError where the container of the result cannot hold the sound.

    And InvalidRequest where it could hold none of this video.
    """
    require_extension(target)
    if codec not in av.codecs_available:
        raise VideoError(f"PyAV was built without {codec} here; name another --codec")
    known = _codecs_of(target)
    if codec not in known:
        raise InvalidRequest(f"{target.suffix} cannot hold what {codec} encodes; name an .mkv, or another --codec")
    for stream in streams:
        if stream.type == "audio" and _codec(stream) not in known:
            raise VideoError(f"{target.suffix} cannot hold the sound, which is {_codec(stream)}; name an .mkv")


def join(source: Path, journal: Journal, time_base: Fraction, target: Path) -> list[str]:
    """Write the result of a journal, with the sound of `source`, to `target`, whose extension names its container.

    Returns what was left out: subtitles that the container cannot hold. Raises VideoError.
    """
    kind = FORMATS[target.suffix.lower()]
    options = {"movflags": "faststart"} if kind in ("mp4", "mov") else {}
    try:
        with open_input(source) as original, open_output(target, kind, options) as result:
            return _join(original, result, journal, time_base, _codecs_of(target))
    except FFmpegError as error:
        raise VideoError(f"{target} cannot be written: {error.strerror}") from error


def _join(
    original: InputContainer, result: OutputContainer, journal: Journal, time_base: Fraction, known: set[str]
) -> list[str]:
    result.metadata.update({key: text for key, text in original.metadata.items() if key.lower() not in OWN_TAGS})
    with open_input(journal.path(0)) as first:
        video = _add_copy(result, first.streams.video[0])
        video.time_base = time_base
    beside = [stream for stream in original.streams if stream.type in ("audio", "subtitle")]
    copied = {stream.index: _copy_stream(result, stream) for stream in beside if _codec(stream) in known}
    kept = [stream for stream in beside if stream.index in copied]
    pictures = _pictures(journal, time_base, video)
    for each in merge(pictures, _packets(original, kept, copied), key=lambda packet: packet.seconds):
        result.mux(each.packet)
    return [f"{stream.type} {stream.index}" for stream in beside if stream.index not in copied]


def _copy_stream(result: OutputContainer, stream: Stream) -> Stream:
    copy = _add_copy(result, stream)
    copy.metadata.update({key: text for key, text in stream.metadata.items() if key in ("language", "title")})
    return copy


def _add_copy(result: OutputContainer, stream: Stream) -> Stream:
    """By the codec that reads it: an encoder of that name need not be there (libdav1d, for AV1), and none is used."""
    return result.add_stream_from_template(stream, opaque=True)


def _pictures(journal: Journal, time_base: Fraction, video: Stream) -> Iterator[Copied]:
    """The packets of all segments at their times, each as long as until the next one."""
    packets = _timed(journal, time_base)
    for packet, following in pairwise(chain(packets, [None])):
        assert packet is not None
        if following is not None and following.pts is not None and packet.pts is not None:
            packet.duration = following.pts - packet.pts
        elif journal.segments[-1].last_duration:
            packet.duration = journal.segments[-1].last_duration
        packet.stream = video
        yield Copied((packet.dts or 0) * time_base, packet)


def _timed(journal: Journal, time_base: Fraction) -> "Iterator[Packet[Any]]":
    for number, segment in enumerate(journal.segments):
        with open_input(journal.path(number)) as container:
            for packet in container.demux(video=0):
                if packet.dts is None or packet.pts is None:
                    continue
                own = packet.time_base
                packet.pts = packet.dts = segment.start + round(packet.pts * own / time_base)
                packet.duration = round((packet.duration or 0) * own / time_base)
                packet.time_base = time_base
                yield packet


def _packets(original: InputContainer, streams: Sequence[Stream], copies: dict[int, Stream]) -> Iterator[Copied]:
    if not streams:
        return
    for packet in _read(original, streams):
        seconds = (packet.dts or 0) * packet.time_base
        if packet.dts is not None and not (packet.is_discard and seconds < -LEAD):
            packet.stream = copies[packet.stream.index]
            yield Copied(seconds, packet)


def _read(original: InputContainer, streams: Sequence[Stream]) -> "Iterator[Packet[Any]]":
    try:
        yield from original.demux(list(streams))
    except FFmpegError as error:
        raise VideoError(f"{original.name}: the sound cannot be read: {error.strerror}") from error


def _codecs_of(target: Path) -> set[str]:
    with open_output(Path(os.devnull), FORMATS[target.suffix.lower()]) as container:
        return set(container.supported_codecs)


def _codec(stream: Stream) -> str:
    context = cast(CodecContext | None, stream.codec_context)  # FFmpeg does not know every codec
    return "unknown" if context is None else context.codec.canonical_name
