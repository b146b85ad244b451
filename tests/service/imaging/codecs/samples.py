"""Files as cameras, phones and programs write them, and helpers that decode and encode."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from service.imaging.codecs import (
    WRITTEN_FORMATS,
    DecodedImage,
    ImageFormat,
    OutputSpec,
    Picture,
    Pixels,
    SourceType,
    decode,
    encode,
    inspect,
)
from tests.service.imaging.images import file, photo

D65 = (0.3127, 0.3290, 1.0)
DISPLAY_P3 = (0.680, 0.320, 1.0, 0.265, 0.690, 1.0, 0.150, 0.060, 1.0)
PROPHOTO = (0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0)

CAPTURED = SourceType.GENERATED.uri.replace(SourceType.GENERATED, "digitalCapture")
XMP = f"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:photos="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"
 tiff:Orientation="6" tiff:ImageWidth="5" xmp:Rating="4" xmpRights:WebStatement="https://example.org/terms">
<photos:creator><rdf:Seq><rdf:li>A &amp; B</rdf:li><rdf:li>C</rdf:li></rdf:Seq></photos:creator>
<photos:rights><rdf:Alt><rdf:li xml:lang="x-default">© 2026 A &lt;B&gt;</rdf:li></rdf:Alt></photos:rights>
<Iptc4xmpExt:DigitalSourceType>{CAPTURED}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures, in dB."""
    return float(10 * np.log10(255**2 / max(np.square(one.astype(float) - other).mean(), 1e-9)))


@cache  # profiles contain their date, and tests compare them
def rgb_profile(primaries: tuple[float, ...], gamma: float = 2.2) -> bytes:
    """An ICC profile with those primaries (x, y, Y each) and the white point D65."""
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=list(D65), primaries=list(primaries), gamma=gamma))


@cache
def adobe_rgb() -> bytes:
    """An ICC profile of Adobe RGB (1998)."""
    return bytes(imagecodecs.cms_profile("adobergb"))


@cache
def grey_profile(gamma: float) -> bytes:
    """An ICC profile of grey."""
    return bytes(imagecodecs.cms_profile("gray", gamma=gamma))


def deep_photo(seed: int = 0, height: int = 24, width: int = 32, channels: int = 3) -> Pixels:
    """A smooth random picture, uint16 (height, width, channels), whose low bytes do not repeat the high ones."""
    coarse = np.random.default_rng(seed).random((4, 4, channels), np.float32)
    planes = [
        Image.fromarray(coarse[..., i]).resize((width, height), Image.Resampling.BILINEAR) for i in range(channels)
    ]
    whole = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    result: Pixels = np.rint(whole * 65_535).astype(np.uint16)
    return result


def png(pixels: Pixels, *chunks: bytes) -> bytes:
    """Encode (H, W) or (H, W, C) of 8 or 16 bits, with further chunks after the header."""
    whole = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
    return whole[:33] + b"".join(chunks) + whole[33:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its length and CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff(pixels: Pixels, **options: Any) -> bytes:
    """Encode with tifffile."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **{"metadata": None, **options})
    return stream.getvalue()


def camera_exif(orientation: int = 1) -> Image.Exif:
    """The EXIF of a camera for a photo of 999×777 pixels, with a GPS position."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model], exif[Base.Orientation] = "Kamera", "K-1", orientation
    exif[Base.Artist], exif[Base.Copyright], exif[Base.ImageWidth] = "Ansel", "(c) Ansel", 999
    exif[IFD.Exif] = {
        Base.ExposureTime: IFDRational(1, 125),
        Base.DateTimeOriginal: "2026:11:23 20:51:10",
        Base.ExifImageWidth: 999,
        Base.ExifImageHeight: 777,
        Base.ColorSpace: 1,
        IFD.MakerNote: b"secret of the maker",
    }
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (IFDRational(48), IFDRational(51), IFDRational(30))}
    return exif


def camera() -> Image.Exif:
    """The EXIF of a camera, read from a block as from a file."""
    exif = Image.Exif()
    exif.load(camera_exif(6).tobytes())
    return exif


def moving(kind: str, count: int = 4, *, alpha: bool = False, **options: Any) -> bytes:
    """An animation of `count` frames with durations of 50, 100, 150 … milliseconds."""
    frames = [Image.fromarray(photo(seed)) for seed in range(count)]
    if alpha:
        for i, frame in enumerate(frames):
            mask = Image.new("L", frame.size, 255)
            mask.paste(0, (4 * i, 4, 4 * i + 12, 16))
            frame.putalpha(mask)
    durations = [50 * (i + 1) for i in range(count)]
    return file(frames[0], kind, save_all=True, append_images=frames[1:], duration=durations, **options)


def pictures(data: bytes, *, keep_grey: bool = False, keep_16_bit: bool = False) -> list[Picture]:
    """Decode all frames."""
    return list(decode(data, keep_grey=keep_grey, keep_16_bit=keep_16_bit).pictures)


def picture(data: bytes, *, keep_grey: bool = False, keep_16_bit: bool = False) -> Picture:
    """Decode a file of one frame."""
    (only,) = pictures(data, keep_grey=keep_grey, keep_16_bit=keep_16_bit)
    return only


def encode_picture(shown: Picture, kind: ImageFormat, original: DecodedImage | None = None, **options: Any) -> bytes:
    """Encode a picture, by default with the colour space and metadata of a plain file."""
    known = original or decode(file(photo()))
    return encode([shown], known, kind, OutputSpec([kind], **options))


def reencode(data: bytes, kind: ImageFormat | None = None, *, upscaled: bool = False, **options: Any) -> bytes:
    """Decode and encode as the service does, as if for a network that changes nothing."""
    header = inspect(data)
    output = OutputSpec([kind] if kind else WRITTEN_FORMATS, **options)
    chosen = output.choose_format(header)
    image = decode(data, keep_grey=upscaled, keep_16_bit=chosen.supports_16_bit)
    source_type = SourceType.UPSCALED if upscaled else SourceType.STYLIZED
    return encode(list(image.pictures), image, chosen, output, source_type)


def write_file(data: bytes, folder: Path, name: str) -> Path:
    """Write a file for other programs."""
    path = folder / name
    path.write_bytes(data)
    return path
