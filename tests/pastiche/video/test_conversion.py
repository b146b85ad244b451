from pathlib import Path

import av
import numpy as np
import pytest

import pastiche
from pastiche.video.conversion import convert
from pastiche.video.encoder import SEGMENT_FRAMES
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.source import open_video
from service.errors import InvalidRequest
from tests.pastiche.video.clips import (
    HEIGHT,
    WIDTH,
    noisy,
    panned,
    pictures,
    seconds,
    sound_packets,
    still,
    turned,
    write_clip,
)
from tests.service.imaging.images import file

EXACT = EncoderOptions(crf=1)


def test_frames_are_painted_and_times_and_sound_stay(tmp_path: Path, style: pastiche.Model) -> None:
    times = [0, 20, 90, 100, 240]
    source = write_clip(tmp_path / "in.mp4", times=times, title="Sea")
    target = tmp_path / "out.mp4"
    converted = convert(source, target, style, {}, EXACT)
    assert converted.frames == 5
    assert seconds(target) == seconds(source)
    assert sound_packets(target) == sound_packets(source)
    for made, given in zip(pictures(target), pictures(source), strict=True):
        assert np.abs(made.astype(int) - style(given)).mean() < 6
    with av.open(str(target)) as container:
        assert container.metadata["title"] == "Sea"
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out.mp4"]


def test_what_a_video_declares_of_its_colours_stays(tmp_path: Path, style: pastiche.Model) -> None:
    declared = {"colorspace": 6, "color_primaries": 6, "color_trc": 6, "color_range": 2}
    source = write_clip(tmp_path / "in.mp4", colours=declared)
    convert(source, tmp_path / "out.mkv", style, {}, EXACT)
    with av.open(str(tmp_path / "out.mkv")) as container:
        context = container.streams.video[0].codec_context
        assert {name: int(getattr(context, name)) for name in declared} == declared


def test_video_of_high_dynamic_range_is_made_for_screens(tmp_path: Path, style: pastiche.Model) -> None:
    declared = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    source = write_clip(tmp_path / "in.mp4", frames=2, colours=declared)
    convert(source, tmp_path / "out.mp4", style, {"strength": "0"}, EXACT)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert {name: int(getattr(context, name)) for name in declared} == dict.fromkeys(declared, 1)
    with open_video(source) as video:
        shown = next(video.frames()).pixels
    assert np.abs(pictures(tmp_path / "out.mp4")[0].astype(int) - shown).mean() < 4


def test_video_of_a_phone_is_upright(tmp_path: Path, style: pastiche.Model) -> None:
    source = write_clip(tmp_path / "in.mp4", sound=None)
    stored = pictures(source)[0]
    convert(turned(source), tmp_path / "out.mp4", style, {}, EXACT)
    made = pictures(tmp_path / "out.mp4")[0]
    assert made.shape == (WIDTH, HEIGHT, 3)
    upright = np.ascontiguousarray(np.rot90(stored, -1))
    assert np.abs(made.astype(int) - style(upright)).mean() < 6


def test_video_is_enlarged(tmp_path: Path, video_store: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=2)
    with pastiche.load(4, stores=video_store, device="cpu", threads=1) as model:
        convert(source, tmp_path / "out.mp4", model, {"scale": "1.5"}, EXACT)
    assert pictures(tmp_path / "out.mp4")[0].shape == (72, 96, 3)


def test_odd_sides_stay(tmp_path: Path, style: pastiche.Model) -> None:
    convert(write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", style, {"output_size": "51"}, EXACT)
    assert pictures(tmp_path / "out.mp4")[0].shape == (38, 51, 3)


class Killed(Exception):
    """As if the process had ended."""


def test_conversion_goes_on_where_it_was_ended(tmp_path: Path, style: pastiche.Model) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=SEGMENT_FRAMES + 6)
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    convert(source, whole, style, {}, EXACT)
    heard: list[int] = []

    def ends(done: int, _: int | None) -> None:
        if done == SEGMENT_FRAMES + 3:
            raise Killed

    with pytest.raises(Killed):
        convert(source, target, style, {}, EXACT, ends)
    assert not target.exists()
    convert(source, target, style, {}, EXACT, lambda done, _: heard.append(done))
    assert heard[0] == SEGMENT_FRAMES
    assert heard[-1] == SEGMENT_FRAMES + 6
    assert seconds(target) == seconds(source)
    np.testing.assert_array_equal(pictures(target), pictures(whole))
    assert sound_packets(target) == sound_packets(source)


def interrupt(source: Path, target: Path, style: pastiche.Model, **options: str) -> Path:
    """A conversion that ends in its second segment; returns the folder that it leaves."""

    def ends(done: int, _: int | None) -> None:
        if done > SEGMENT_FRAMES:
            raise Killed

    with pytest.raises(Killed):
        convert(source, target, style, options, EXACT, ends)
    return target.with_name(f".{target.name}.part")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_other_options_begin_anew_and_say_so(tmp_path: Path, style: pastiche.Model) -> None:
    source, target, heard = (
        write_clip(tmp_path / "in.mp4", frames=SEGMENT_FRAMES + 2),
        tmp_path / "out.mp4",
        list[str](),
    )
    interrupt(source, target, style)
    convert(source, target, style, {"strength": "0.5"}, EXACT, lambda done, _: heard.append(str(done)), heard.append)
    assert heard[:2] == ["48 frames that were done before are done anew: of another options", "0"]


def test_other_mask_of_the_same_name_begins_anew(tmp_path: Path, style: pastiche.Model) -> None:
    source, target, mask = tmp_path / "in.mp4", tmp_path / "out.mp4", tmp_path / "mask.png"
    write_clip(source, frames=SEGMENT_FRAMES + 2)
    mask.write_bytes(file(np.zeros((HEIGHT, WIDTH), np.uint8)))
    heard: list[str] = []
    for level, said in ((0, []), (255, ["48 frames that were done before are done anew: of another options"])):
        interrupt(source, target, style, mask=str(mask))
        mask.write_bytes(file(np.full((HEIGHT, WIDTH), level, np.uint8)))
        heard.clear()
        convert(source, target, style, {"mask": str(mask)}, EXACT, notice=heard.append)
        assert heard == said


@pytest.mark.parametrize(
    ("options", "encoder"),
    [
        ({"nonsense": "1"}, EXACT),
        ({"strength": "nan"}, EXACT),
        ({"output_size": "16"}, EncoderOptions(codec="libx265")),
    ],
)
def test_options_that_are_refused_leave_what_was_done(
    tmp_path: Path, style: pastiche.Model, options: dict[str, str], encoder: EncoderOptions
) -> None:
    source, target = write_clip(tmp_path / "in.mp4", frames=SEGMENT_FRAMES + 2), tmp_path / "out.mp4"
    with pytest.raises((InvalidRequest, VideoError)):
        convert(source, target, style, options, encoder)
    assert list(tmp_path.iterdir()) == [source]
    folder = interrupt(source, target, style)
    before = files(folder)
    with pytest.raises((InvalidRequest, VideoError)):
        convert(source, target, style, options, encoder)
    assert files(folder) == before
    assert sorted(before) == ["000000.mp4", "journal.json"]


def test_damaged_segment_is_painted_again(tmp_path: Path, style: pastiche.Model) -> None:
    source, target, heard = (
        write_clip(tmp_path / "in.mp4", frames=SEGMENT_FRAMES + 2),
        tmp_path / "out.mp4",
        list[str](),
    )
    (interrupt(source, target, style) / "000000.mp4").write_bytes(b"")
    convert(source, target, style, {}, EXACT, notice=heard.append)
    assert "000000.mp4 is missing or damaged" in heard[0]
    assert seconds(target) == seconds(source)


@pytest.mark.parametrize(("picture", "least", "most"), [(still, 0, 0.01), (noisy, 0.02, 60), (panned, 0, 60)])
def test_flicker_is_measured(tmp_path: Path, style: pastiche.Model, picture: object, least: float, most: float) -> None:
    assert callable(picture)
    source = write_clip(tmp_path / "in.mkv", picture=picture)
    flicker = convert(source, tmp_path / "out.mp4", style, {}, EXACT).flicker
    assert flicker.pixels > 0
    assert least <= flicker.made <= most
    assert str(flicker).startswith("flicker: ")


def test_video_that_only_had_to_be_joined_has_no_flicker(tmp_path: Path, style: pastiche.Model) -> None:
    source, target = write_clip(tmp_path / "in.mp4"), tmp_path / "out" / "out.mp4"
    target.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        convert(source, target, style, {}, EXACT)
    target.rmdir()
    heard = list[int]()
    converted = convert(source, target, style, {}, EXACT, lambda done, _: heard.append(done))
    assert heard == [5]
    assert (converted.frames, converted.flicker.pairs) == (5, 0)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_truncated_video_is_refused_before_it_is_painted(tmp_path: Path, style: pastiche.Model, name: str) -> None:
    source, heard = write_clip(tmp_path / name, frames=30, options={"movflags": "faststart"}), list[int]()
    source.write_bytes(source.read_bytes()[:-4000])
    with pytest.raises(VideoError, match=r"the file is not complete; its last [0-9]+ bytes are missing"):
        convert(source, tmp_path / "out.mp4", style, {}, EXACT, lambda done, _: heard.append(done))
    assert heard == []
    assert list(tmp_path.iterdir()) == [source]
