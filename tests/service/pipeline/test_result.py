from pathlib import Path

from service.imaging.codecs import ImageFormat
from service.imaging.sizes import Size
from service.pipeline.result import EncodedImage, FinishedImage
from tests.service.live import publish, publish_upscaler, serving


def test_result_says_what_the_image_is_and_what_made_it(tmp_path: Path) -> None:
    wave, upscaler = publish(tmp_path), publish_upscaler(tmp_path)
    with serving(tmp_path) as live:
        models = live.service.models.find("wave"), live.service.models.find("x4")
    image = EncodedImage(b"bytes", ImageFormat.WEBP, Size(height=2, width=3), models)
    finished = FinishedImage.of(image, "key", {"read": 0.12345678})
    result = finished.result
    assert finished.content == b"bytes"
    assert (result.width, result.height, result.bytes, result.etag) == (3, 2, 5, '"key"')
    assert (result.format, result.media_type, result.seconds) == ("webp", "image/webp", {"read": 0.123457})
    assert result.label == "wave@1, x4@1"
    assert result.digest == f"{wave.digest}, {upscaler.digest}"
