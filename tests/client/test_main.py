from pathlib import Path

import pytest

from client.__main__ import main
from tests.service.live import file, painted, photo, pixels, publish, publish_upscaler, same, serving


def photos(folder: Path, count: int) -> Path:
    """A folder of different photos, some of them deeper down."""
    for seed in range(count):
        path = folder / f"{seed % 3}" / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file(photo(seed)))
    return folder


def test_folder_of_a_hundred_photos_goes_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In spite of a service that takes on six at a time, and of a photo that is none."""
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
        assert main(["upscale", "4", str(tmp_path / "absent"), "-o", str(tmp_path / "x")]) == 2


def test_one_photo_becomes_one_file_and_is_not_overwritten_unasked(tmp_path: Path) -> None:
    publish(tmp_path / "store")
    source, out = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(file(photo()))
    out.write_bytes(b"mine")
    with serving(tmp_path / "store") as live:
        command = ["stylize", "wave", str(source), "-o", str(out), "--server", live.url]
        assert main(command) == 0
        assert out.read_bytes() == b"mine"
        assert main([*command, "--overwrite", "--timeout", "30"]) == 0
        assert same(pixels(out.read_bytes()), painted(tmp_path / "store", photo()))


def test_service_that_is_away_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photos(tmp_path / "photos", 3)
    command = ["stylize", "wave", str(source), "-o", str(tmp_path / "out"), "--server", "http://127.0.0.1:9"]
    assert main([*command, "--retries", "1"]) == 1
    assert "no answer from http://127.0.0.1:9" in capsys.readouterr().err


def test_no_server_is_needed(
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
    assert main(["stylize", "cats", str(source), "-o", str(tmp_path / "no"), "--local"]) == 1
    assert "there are: wave" in capsys.readouterr().err
    assert not (tmp_path / "jobs").exists()
    monkeypatch.setenv("PASTICHE_STORES", str(tmp_path / "empty"))
    assert main(["stylize", "wave", str(source), "-o", str(tmp_path / "no"), "--local"]) == 1
    assert "no model is served" in capsys.readouterr().err
