import io
from dataclasses import replace
from pickle import PickleBuffer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import ImageFormat, OutputSpec, Picture, SourceType, decode, inspect
from service.imaging.masks import MaskMeaning
from service.imaging.sizes import Size
from service.imaging.style_transform import StyleTransform
from service.imaging.workers.image_tasks import (
    DecodeRequest,
    EncodeRequest,
    decode_frames,
    encode_frames,
    inspect_image,
    inspect_mask_for,
)
from tests.service.imaging.images import file, photo

SIZE = Size(24, 32)
STYLE = StyleTransform(SIZE, SIZE, (1.0,))
MASK = np.full((24, 32), 255, np.uint8)


def request(image: bytes, mask: bytes | None = None, **changes: Any) -> DecodeRequest:
    made = DecodeRequest(
        image, inspect(image), mask, MaskMeaning.WHITE, STYLE, keep_grey=False, keep_16_bit=False, keep_metadata=False
    )
    return replace(made, **changes)


def animation() -> bytes:
    frames = [Image.fromarray(photo(seed)) for seed in range(3)]
    content = io.BytesIO()
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:], duration=[10, 20, 30])
    return content.getvalue()


@pytest.mark.parametrize("wrapped", [bytes, memoryview, PickleBuffer])
def test_headers_are_read_from_any_buffer(wrapped: type) -> None:
    assert inspect_image(wrapped(file(photo()))).upright_size == SIZE
    assert inspect_mask_for(wrapped(file(MASK)), SIZE, MaskMeaning.WHITE).upright_size == SIZE


def test_frames_come_with_inputs_and_without_photos_that_nobody_needs() -> None:
    decoded = decode_frames(request(animation()))
    frames = decoded.source.load().frames
    assert [frame.picture.milliseconds for frame in frames] == [10, 20, 30]
    for seed, (pixels, frame) in enumerate(zip(decoded.inputs, frames, strict=True)):
        assert np.array_equal(pixels, photo(seed))
        assert frame.picture.pixels.size == 0
    kept = decode_frames(request(animation(), transform=replace(STYLE, strength=0.5))).source.load()
    assert all(np.array_equal(frame.picture.pixels, photo(seed)) for seed, frame in enumerate(kept.frames))


def test_mask_comes_with_the_frame() -> None:
    (frame,) = decode_frames(request(file(photo()), file(MASK))).source.load().frames
    assert frame.mask is not None
    assert (frame.mask.plane == 255).all()


@pytest.mark.parametrize("keep", [True, False])
def test_tags_come_where_they_are_wanted(keep: bool) -> None:
    exif = Image.Exif()
    exif[0x13B] = "me"
    image = file(photo(), "JPEG", exif=exif)
    tags = decode_frames(request(image, keep_metadata=keep)).source.load().image.metadata.exif
    assert dict(tags) == ({0x13B: "me"} if keep else {})


def test_fewer_frames_than_declared_are_refused() -> None:
    with pytest.raises(CorruptImage):
        decode_frames(request(animation()[:-700]))


def test_answer_is_the_outputs_in_the_format() -> None:
    decoded = decode_frames(request(animation()))
    outputs = tuple([photo(seed)] for seed in (5, 6, 7))
    output = OutputSpec([ImageFormat.PNG])
    asked = EncodeRequest(decoded.source, outputs, STYLE, ImageFormat.PNG, output, SourceType.STYLIZED)
    pictures: list[Picture] = list(decode(bytes(encode_frames(asked))).pictures)
    assert [picture.milliseconds for picture in pictures] == [10, 20, 30]
    assert all(np.array_equal(picture.pixels, photo(seed)) for seed, picture in zip((5, 6, 7), pictures, strict=True))
