import zlib
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.app import create_app
from service.errors import PROBLEM_MEDIA_TYPE
from tests.service.live import file, photo, publish, serving, settings


def test_applications_are_built_without_doing_anything(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert isinstance(create_app(settings(absent)), FastAPI)
    assert not absent.exists()


def test_device_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cuda:99 does not exist"):
        create_app(settings(tmp_path, device="cuda:99"))


def test_services_in_one_process_do_not_know_each_other(tmp_path: Path) -> None:
    publish(tmp_path / "one", "wave")
    publish(tmp_path / "two", "night")
    with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two:
        assert one.client.post("/v1/stylize/wave", content=file(photo())).status_code == 200
        assert two.client.post("/v1/stylize/wave", content=file(photo())).status_code == 404
        assert two.client.post("/v1/stylize/night", content=file(photo())).status_code == 200
        assert one.metric("pastiche_batch_size_count") == two.metric("pastiche_batch_size_count") == 1


def test_image_beyond_pillows_own_guard_is_refused_by_ours(tmp_path: Path) -> None:
    """Pillow raises from 179 megapixels on, without a header to speak of."""
    publish(tmp_path)
    header = bytearray(file(photo()))
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with serving(tmp_path) as live:
        answer = live.client.post("/v1/stylize/wave", content=bytes(header))
    assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
    assert (answer.status_code, answer.json()["actual"]) == (422, 400_000_000)
