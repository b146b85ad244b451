"""Photographs as cameras, phones and programs leave them, made here; and what is read from them again."""

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

from service.photographs import ImageFormat, Output, Photograph, Picture, Pixels, decode, encode, inspect
from service.photographs.xmp import SourceType
from tests.service.live import file, photo

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
    """Decibels of 8 bits, by which two pictures agree."""
    return float(10 * np.log10(255**2 / max(np.square(one.astype(float) - other).mean(), 1e-9)))


@cache  # a profile says when it was made
def rgb_profile(primaries: tuple[float, ...], gamma: float = 2.2) -> bytes:
    """An ICC profile with those primaries and D65."""
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
    """A smooth random picture of 16 bits whose low bytes are no copies of its high ones."""
    coarse = np.random.default_rng(seed).random((4, 4, channels), np.float32)
    planes = [
        Image.fromarray(coarse[..., i]).resize((width, height), Image.Resampling.BILINEAR) for i in range(channels)
    ]
    whole = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    result: Pixels = np.rint(whole * 65_535).astype(np.uint16)
    return result


def png(pixels: Pixels, *chunks: bytes) -> bytes:
    """Of (H, W) or (H, W, C), 8 or 16 bits, with further chunks after the header."""
    whole = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
    return whole[:33] + b"".join(chunks) + whole[33:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff(pixels: Pixels, **options: Any) -> bytes:
    """As tifffile writes it."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **{"metadata": None, **options})
    return stream.getvalue()


def camera_exif(orientation: int = 1) -> Image.Exif:
    """What a camera says of a photograph of 999×777 pixels, and where it was."""
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


def moving(kind: str, count: int = 4, *, alpha: bool = False, **options: Any) -> bytes:
    """An animation of so many frames, shown for 50, 100, 150 … milliseconds."""
    frames = [Image.fromarray(photo(seed)) for seed in range(count)]
    if alpha:
        for i, frame in enumerate(frames):
            mask = Image.new("L", frame.size, 255)
            mask.paste(0, (4 * i, 4, 4 * i + 12, 16))
            frame.putalpha(mask)
    durations = [50 * (i + 1) for i in range(count)]
    return file(frames[0], kind, save_all=True, append_images=frames[1:], duration=durations, **options)


def pictures(data: bytes, *, grey: bool = False, deep: bool = False) -> list[Picture]:
    """Every frame of a file."""
    return list(decode(data, grey=grey, deep=deep).pictures)


def picture(data: bytes, *, grey: bool = False, deep: bool = False) -> Picture:
    """The only one."""
    (only,) = pictures(data, grey=grey, deep=deep)
    return only


def written(shown: Picture, kind: ImageFormat, original: Photograph | None = None, **options: Any) -> bytes:
    """A picture as a file."""
    known = original or decode(file(photo()))
    return encode([shown], known, kind, Output([kind], **options))


def again(data: bytes, kind: ImageFormat | None = None, *, enlarged: bool = False, **options: Any) -> bytes:
    """The file of an answer whose network changes nothing: decoded and encoded as the service does it."""
    header = inspect(data)
    output = Output([kind] if kind else [known for known in ImageFormat if known.written], **options)
    chosen = output.choose(header)
    photograph = decode(data, grey=enlarged, deep=chosen.is_deep)
    made = SourceType.ENLARGED if enlarged else SourceType.PAINTED
    return encode(list(photograph.pictures), photograph, chosen, output, made)


def stored(data: bytes, folder: Path, name: str) -> Path:
    """The file on disk, for programs that read it there."""
    path = folder / name
    path.write_bytes(data)
    return path
