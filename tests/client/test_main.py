import io
import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from client.__main__ import main
from client.address import DEFAULT_SERVER
from service.jobs.folder import JobFolder
from service.jobs.record import JobRecord
from service.pipeline.requests import InputFiles, StylizeRequest
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import painted, pixels, publish, publish_upscaler, same, serving


def photos(folder: Path, count: int) -> Path:
    """A folder of different photos, some of them deeper down."""
    for seed in range(count):
        path = folder / f"{seed % 3}" / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file(photo(seed)))
    return folder


def test_folder_of_a_hundred_photos_is_stylized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The service admits six requests at a time, and one file is not an image."""
    publish(tmp_path / "store")
    source, out = photos(tmp_path / "photos", 100), tmp_path / "painted"
    (source / "broken.jpg").write_bytes(b"no image")
    with serving(tmp_path / "store", max_queue_requests=6) as live:
        command = ["stylize", "wave", str(source), "-o", str(out), "--server", live.url, "--format=png", "--quiet"]
        assert main([*command, "--parallel", "8"]) == 1
        said = capsys.readouterr().err
        assert "100 written, 1 failed" in said
        assert f"{source}/broken.jpg: the body is none of" in said
        results = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
        assert results == sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
        for seed in (0, 99):
            result = (out / f"{seed % 3}" / f"{seed:03}.png").read_bytes()
            assert same(pixels(result), painted(tmp_path / "store", photo(seed)))

        (source / "broken.jpg").unlink()
        (out / "1" / "001.png").unlink()
        before = live.metric("pastiche_batch_size_count")
        assert main(command) == 0
        assert "1 written, 99 there already" in capsys.readouterr().err
        assert live.metric("pastiche_batch_size_count") == before + 1


def test_options_of_the_service_are_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_upscaler(tmp_path / "store")
    source = photos(tmp_path / "photos", 2)
    with serving(tmp_path / "store") as live:
        shared = [str(source), "--server", live.url, "-o"]
        assert main(["upscale", "4", *shared, str(tmp_path / "large"), "--format=webp", "--quality=3"]) == 0
        assert {path.suffix for path in (tmp_path / "large").rglob("*.*")} == {".webp"}
        assert main(["upscale", "4", *shared, str(tmp_path / "none"), "--qualty=3", "--parallel", "1"]) == 1
        said = capsys.readouterr().err
        assert "query.qualty: no such parameter" in said
        assert "1 failed, 1 not tried" in said
        assert not (tmp_path / "none").exists()
        assert main(["upscale", "4", *shared, str(tmp_path / "x"), "--quality", "3"]) == 2
        for scale in ("0", "-1", "nan", "inf", "four"):
            assert main(["upscale", scale, *shared, str(tmp_path / "x")]) == 2
            assert f"error: {scale!r} is no scale; a number of 1 or more is accepted" in capsys.readouterr().err
        assert main(["upscale", "4", str(tmp_path / "absent"), "-o", str(tmp_path / "x")]) == 2


def test_images_are_painted_where_standard_error_is_closed(tmp_path: Path) -> None:
    publish(tmp_path / "store")
    source, out = photos(tmp_path / "photos", 2), tmp_path / "painted"
    with serving(tmp_path / "store") as live:
        command = [sys.executable, "-m", "client", "stylize", "wave", str(source), "-o", str(out), "--server", live.url]
        done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *command], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
    assert len([path for path in out.rglob("*") if path.is_file()]) == 2


def test_single_file_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    publish(tmp_path / "store")
    source, out = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(file(photo()))
    out.write_bytes(b"mine")
    with serving(tmp_path / "store") as live:
        command = ["stylize", "wave", str(source), "-o", str(out), "--server", live.url]
        assert main(command) == 0
        assert out.read_bytes() == b"mine"
        assert main([*command, "--overwrite", "--timeout", "30", "--patience", "5"]) == 0
        assert same(pixels(out.read_bytes()), painted(tmp_path / "store", photo()))


def test_unsuitable_images_fail_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even where they come first."""
    publish_upscaler(tmp_path / "store")
    source, out = photos(tmp_path / "photos", 2), tmp_path / "large"
    for name in ("a.png", "b.png", "c.png"):
        (source / name).write_bytes(file(photo(height=6, width=8)))
    frames = [Image.fromarray(photo(seed)) for seed in range(2)]
    (source / "d.gif").write_bytes(file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    with serving(tmp_path / "store") as live:
        command = ["upscale", "4", str(source), "-o", str(out), "--server", live.url, "--format=jpeg", "--parallel=1"]
        assert main([*command, "--width=100"]) == 1
    said = capsys.readouterr().err
    assert "2 written, 4 failed" in said
    assert "not tried" not in said
    assert f"{source}/a.png: an answer of 100×any" in said
    assert f"{source}/d.gif: the image has 2 frames" in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--feather=3"], "feather softens the edges of a mask"),
        (["--format=jpeg", "--lossless=true"], "a jpeg cannot be lossless"),
        (["--format=bmp"], "format=bmp leaves none of"),
        (["--timeout=86400"], "at most 600 seconds"),
    ],
)
def test_options_that_no_image_accepts_are_tried_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    publish(tmp_path / "store")
    source = photos(tmp_path / "photos", 3)
    with serving(tmp_path / "store") as live:
        shared = ["--server", live.url, "--parallel=1", "-o", str(tmp_path / "out")]
        assert main(["stylize", "wave", str(source), *shared, *options]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "1 failed, 2 not tried" in said


def test_names_of_styles_are_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path / "store")
    publish(tmp_path / "store", "scream")
    source = photos(tmp_path / "photos", 1)
    with serving(tmp_path / "store") as live:
        shared = [str(source), "--server", live.url, "-o"]
        assert main(["stylize", "wave?strength=0", *shared, str(tmp_path / "no")]) == 2
        assert "no model is named 'wave?strength=0'" in capsys.readouterr().err
        assert main(["stylize", "wave:0.7,scream:0.3", *shared, str(tmp_path / "mixed")]) == 0


def test_mistyped_model_ends_the_command_before_an_image_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path / "store")
    publish_upscaler(tmp_path / "store")
    source = photos(tmp_path / "photos", 2)
    (source / "link.jpg").symlink_to("gone.jpg")
    with serving(tmp_path / "store") as live:
        shared = [str(source), "-o", str(tmp_path / "out"), "--server", live.url]
        for command in (["stylize", "waves"], ["stylize", "wave:0.5,waev:0.5"], ["upscale", "4", "--model=x5"]):
            assert main([*command[:2], *shared, *command[2:]]) == 2
            said = capsys.readouterr().err
            assert said.startswith("error: no model is named")
            assert f"did you mean {'x4' if 'upscale' in command else 'wave'}?" in said
            assert "link.jpg" not in said
        assert main(["stylize", "nothing-like-it", *shared]) == 2
        assert "did you mean" not in capsys.readouterr().err


def test_extension_of_a_single_result_sets_its_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path / "store")
    source = tmp_path / "a.jpg"
    source.write_bytes(file(photo(), "JPEG"))
    with serving(tmp_path / "store") as live:
        command = ["stylize", "wave", str(source), "--server", live.url, "-o"]
        assert main([*command, str(tmp_path / "b.png")]) == 0
        assert Image.open(io.BytesIO((tmp_path / "b.png").read_bytes())).format == "PNG"
        assert main([*command, str(tmp_path / "c.png"), "--format=jpeg"]) == 2
        assert "--format=png" in capsys.readouterr().err
        assert main([*command, str(tmp_path / "c.bmp")]) == 2
        assert ".avif, .gif" in capsys.readouterr().err
        assert main([*command, str(source), "--overwrite"]) == 2
    assert source.read_bytes() == file(photo(), "JPEG")


def test_variables_that_are_empty_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path / "store")
    monkeypatch.setenv("PASTICHE_KEY", "")
    monkeypatch.setenv("PASTICHE_SERVER", "")
    source = photos(tmp_path / "photos", 1)
    with serving(tmp_path / "store") as live:
        assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "out"), "--server", live.url]) == 0
    with pytest.raises(SystemExit):
        main(["stylize", "--help"])
    assert DEFAULT_SERVER in capsys.readouterr().out


def test_key_that_no_header_can_have_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PASTICHE_KEY", "ge heim\nnis")
    with pytest.raises(SystemExit) as end:
        main(["stylize", "wave", str(tmp_path), "-o", str(tmp_path / "out")])
    shown = capsys.readouterr().err
    assert (end.value.code, "printable ASCII" in shown, "heim" in shown) == (2, True, False)


def test_key_is_sent_where_one_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path / "store")
    sent = write_keys(tmp_path / "keys.toml", shop="")["shop"]["Authorization"].removeprefix("Bearer ")
    source = photos(tmp_path / "photos", 1)
    with serving(tmp_path / "store", keys_file=tmp_path / "keys.toml") as live:
        command = ["stylize", "wave", str(source), "-o", str(tmp_path / "out"), "--server", live.url]
        assert main(command) == 1
        assert "key" in capsys.readouterr().err
        assert main([*command, "--key", sent]) == 0


def test_broken_link_is_an_image_that_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path / "store")
    source = photos(tmp_path / "photos", 2)
    (source / "link.jpg").symlink_to("gone.jpg")
    with serving(tmp_path / "store") as live:
        assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "out"), "--server", live.url]) == 1
    said = capsys.readouterr().err
    assert "2 written, 1 failed" in said
    assert f"{source}/link.jpg: " in said


def test_unavailable_service_is_waited_for_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photos(tmp_path / "photos", 20)
    command = ["stylize", "wave", str(source), "-o", str(tmp_path / "out"), "--server", "http://127.0.0.1:9"]
    assert main([*command, "--patience", "0.3"]) == 1
    waiting, gave_up, summary = capsys.readouterr().err.splitlines()
    assert waiting.startswith("waiting up to 0.3 s for the service: no answer from http://127.0.0.1:9: ")
    assert gave_up.startswith("error: no answer from http://127.0.0.1:9: ")
    assert summary == "20 not tried"


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        (["--retries", "-1"], "from 0 to 1000"),
        (["--parallel", "0"], "from 1 to 256"),
        (["--timeout", "nan"], "above 0"),
        (["--timeout", "0"], "above 0"),
        (["--timeout=-3"], "above 0"),
        (["--timeout", "inf"], "above 0"),
        (["--timeout", "soon"], "above 0"),
        (["--patience", "nan"], "from 0"),
        (["--patience=-1"], "from 0"),
        (["--server", "localhost:8123"], "http://localhost:8123"),
        (["--server", "ftp://localhost"], "http://127.0.0.1:8000"),
        (["--server", "http://"], "http://127.0.0.1:8000"),
        (["--server", "http://localhost:99999"], "http://127.0.0.1:8000"),
        (["--server", ""], "http://127.0.0.1:8000"),
    ],
)
def test_invalid_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], accepted: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["stylize", "wave", str(photos(tmp_path, 1)), "-o", str(tmp_path / "out"), *options])
    assert accepted in capsys.readouterr().err


@pytest.mark.parametrize("style", ["", ",", "wave/preview", "../models", "photos/a.jpg", ".", "wave:1,..:1"])
@pytest.mark.parametrize("name", ["photo.jpg", "clip.mp4"])
def test_what_can_be_no_style_is_not_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str, name: str
) -> None:
    assert main(["stylize", style, str(tmp_path / name), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {style!r} is no style; a name is accepted")


@pytest.mark.parametrize(
    ("style", "option"), [("wave\udcff", "--quality=85"), ("wave", "--metadata=\udcff"), ("wave", "--\udcff=1")]
)
@pytest.mark.parametrize("name", ["photo.jpg", "clip.mp4"])
def test_bytes_that_are_no_text_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str, option: str, name: str
) -> None:
    assert main(["stylize", style, str(tmp_path / name), "-o", str(tmp_path / "out"), option]) == 2
    assert "\\udcff" in capsys.readouterr().err


@pytest.mark.parametrize(("image", "out"), [("", "out"), ("photos", "")])
def test_empty_name_is_not_the_current_folder(capsys: pytest.CaptureFixture[str], image: str, out: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["stylize", "wave", image, "-o", out])
    assert "a name is empty" in capsys.readouterr().err


def test_local_needs_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path / "store")
    source, out = photos(tmp_path / "photos", 5), tmp_path / "out"
    for name, value in {"STORES": tmp_path / "store", "DEVICE": "cpu", "PRECISION": "fp32", "THREADS": 1}.items():
        monkeypatch.setenv(f"PASTICHE_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    assert main(["stylize", "wave", str(source), "-o", str(out), "--local"]) == 0
    assert "5 written" in capsys.readouterr().err
    assert same(pixels((out / "1" / "004.png").read_bytes()), painted(tmp_path / "store", photo(4)))
    assert main(["stylize", "cats", str(source), "-o", str(tmp_path / "no"), "--local"]) == 2
    assert "there are: wave" in capsys.readouterr().err
    assert not (tmp_path / "jobs").exists()
    monkeypatch.setenv("PASTICHE_STORES", str(tmp_path / "empty"))
    assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "no"), "--local"]) == 1
    assert "no model is served" in capsys.readouterr().err


def test_local_run_leaves_the_jobs_of_a_service_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path / "store")
    source, store = photos(tmp_path / "photos", 5), JobFolder(tmp_path / "jobs")
    store.open()
    record = JobRecord(id="mine", request=StylizeRequest(style="wave"), fingerprint="", request_id="")
    store.create(record, InputFiles(file(photo())))
    job = tmp_path / "jobs" / "mine"
    before = {path: path.stat().st_mtime_ns for path in (job, *job.iterdir())}
    for name, value in {"STORES": tmp_path / "store", "DEVICE": "cpu", "THREADS": 1}.items():
        monkeypatch.setenv(f"PASTICHE_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "out"), "--local"]) == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    store.close()
    assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "again"), "--local"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (job, *job.iterdir())} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["stylize", "wave", "a.jpg", "-o", "b", "--server", "http://me:secret@host:port"],
        ["stylize", "wave", "http://me:secret@host/a.jpg", "-o", "b"],
        ["upscale", "http://me:secret@host/a.jpg", "a.jpg", "-o", "b"],
        ["http://me:secret@host/a.jpg"],
    ],
)
def test_no_password_is_shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "…@host" in told
    assert "secret" not in told


def test_a_tilde_is_the_home_folder_also_after_an_equals_sign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    publish(tmp_path / "store")
    (tmp_path / "photo.png").write_bytes(file(photo()))
    with serving(tmp_path / "store") as live:
        command = ["stylize", "wave", "~/photo.png", "--server", live.url, "--quiet"]
        assert main([*command, "--output=~/painted.png"]) == 0
    assert (tmp_path / "painted.png").is_file()
    with pytest.raises(SystemExit):
        main([*command, "--output=~nobody-of-this-name/painted.png"])
    assert "begins with no home folder" in capsys.readouterr().err
