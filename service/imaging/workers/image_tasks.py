"""What workers do with images: the functions that they run, and the values that go to them and come back.

Files are any bytes-like object, which a worker copies once, so that decoders get bytes.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.errors import CorruptImage
from service.imaging.codecs import (
    ColourSpace,
    DecodedImage,
    ImageFormat,
    ImageHeader,
    OutputSpec,
    Picture,
    Pixels,
    SourceType,
    decode,
    encode,
    inspect,
    read_quantization,
)
from service.imaging.damage import Damage, assess, assess_tables
from service.imaging.frame_transform import Frame, FrameTransform
from service.imaging.json_contents import Path, take_apart
from service.imaging.masks import Mask, MaskMeaning, inspect_mask
from service.imaging.pixels import to_8_bits
from service.imaging.sizes import Size
from service.imaging.workers.serialization import Pickled

File = bytes | memoryview | pickle.PickleBuffer
"""The bytes of a file; as a PickleBuffer they are copied into shared memory without being pickled."""


@dataclass(frozen=True)
class DecodeRequest:
    """An image that is to be decoded and made ready for its networks."""

    image: File
    header: ImageHeader
    """Of the image."""
    mask: File | None
    mask_meaning: MaskMeaning
    transform: FrameTransform
    keep_grey: bool
    keep_16_bit: bool
    keep_metadata: bool
    """Whether the output may keep metadata of the image, beside what says how it was made."""


@dataclass(frozen=True)
class SourceFrames:
    """What the answer takes of a decoded image beside its networks' outputs."""

    frames: tuple[Frame, ...]
    """For the transform, in order; without the pixels of photos that it does not need."""
    image: DecodedImage
    """For the encoder; its iterator of pictures is used up."""


@dataclass(frozen=True)
class DecodedFrames:
    """A decoded image, ready for its networks."""

    inputs: tuple[Pixels, ...]
    """Of the first networks, (H, W, 3), one for each frame."""
    source: Pickled[SourceFrames]


@dataclass(frozen=True)
class EncodeRequest:
    """Frames whose networks have run."""

    source: Pickled[SourceFrames]
    outputs: tuple[Sequence[Pixels], ...]
    """For each frame, what `FrameTransform.postprocess` wants."""
    transform: FrameTransform
    format: ImageFormat
    output: OutputSpec
    source_type: SourceType


def inspect_image(image: File) -> ImageHeader:
    """See `inspect`."""
    return inspect(bytes(image))


def inspect_mask_for(mask: File, photo: Size, meaning: MaskMeaning) -> ImageHeader:
    """See `inspect_mask`."""
    return inspect_mask(bytes(mask), photo, meaning)


def assess_image(image: File, header: ImageHeader) -> Damage:
    """What is wrong with an image that does not move, by its tables or else by its pixels. Raises CorruptImage."""
    data = bytes(image)
    tables = read_quantization(data, header)
    if tables and (damage := assess_tables(tables)):
        return damage
    return assess(to_8_bits(next(decode(data, header=header).pictures).pixels))


def take_json_apart(body: File, paths: Sequence[Path]) -> tuple[bytes, tuple[pickle.PickleBuffer, ...]]:
    """The document and the contents of `TakenApart`. Raises what `json_contents.take_apart` raises."""
    taken = take_apart(bytes(body), paths)
    return taken.document, tuple(pickle.PickleBuffer(content) for content in taken.contents)


def decode_frames(request: DecodeRequest) -> DecodedFrames:
    """Decode all frames. Raises CorruptImage."""
    keep_grey, keep_16_bit = request.keep_grey, request.keep_16_bit
    image = decode(bytes(request.image), keep_grey=keep_grey, keep_16_bit=keep_16_bit, header=request.header)
    mask = None if request.mask is None else Mask.decode(bytes(request.mask), request.mask_meaning)
    if request.mask_meaning is MaskMeaning.OWN:
        frames = [_masked_by_itself(picture, image.space) for picture in _all_pictures(image)]
    else:
        frames = [Frame(picture, image.space, mask) for picture in _all_pictures(image)]
    inputs = tuple(np.ascontiguousarray(request.transform.preprocess(frame)) for frame in frames)
    kept = tuple(_without_needless(frame, request.transform) for frame in frames)
    metadata = image.metadata if request.keep_metadata else image.metadata.without_exif()
    source = SourceFrames(kept, replace(image, pictures=iter(()), metadata=metadata))
    return DecodedFrames(inputs, Pickled.of(source))


def encode_frames(request: EncodeRequest) -> pickle.PickleBuffer:
    """The file of the answer."""
    source = request.source.load()
    pairs = zip(source.frames, request.outputs, strict=True)
    pictures = [request.transform.postprocess(frame, outputs) for frame, outputs in pairs]
    content = encode(pictures, source.image, request.format, request.output, request.source_type)
    return pickle.PickleBuffer(content)


def _all_pictures(image: DecodedImage) -> Iterator[Picture]:
    """As many pictures as the header declares, each of the size that it declares."""
    header, count = image.header, 0
    for picture in image.pictures:
        if picture.pixels.shape[:2] != header.upright_size:
            raise CorruptImage("the file says of its image that it has two sizes; save it anew")
        count += 1
        yield picture
    if count != header.frames:
        raise CorruptImage(f"the image has {count} frames, and declares {header.frames}")


def _masked_by_itself(picture: Picture, space: ColourSpace) -> Frame:
    """The picture, made opaque, with what was transparent of it as its mask; wholly without one where nothing was."""
    mask = None if picture.alpha is None else Mask.from_holes(picture)
    return Frame(replace(picture, alpha=None), space, mask)


def _without_needless(frame: Frame, transform: FrameTransform) -> Frame:
    picture = frame.picture
    pixels = np.ascontiguousarray(picture.pixels) if transform.needs_photo(frame) else picture.pixels[:0, :0].copy()
    alpha = None if picture.alpha is None else np.ascontiguousarray(picture.alpha)
    return replace(frame, picture=replace(picture, pixels=pixels, alpha=alpha))
