import pytest
from defusedxml.ElementTree import fromstring

from service.imaging.codecs.xmp import NS_DC, NS_IPTC_EXT, NS_PHOTOSHOP, NS_RIGHTS, NS_TIFF, NS_XMP, Packet, SourceType
from tests.service.imaging.codecs.samples import XMP as CAMERA

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>"""


def texts(packet: bytes, namespace: str, name: str) -> list[str]:
    """The values of a property, whether elements, arrays or attributes."""
    found = []
    for element in fromstring(packet).iter():
        found += [value for key, value in element.items() if key == f"{{{namespace}}}{name}"]
        if element.tag == f"{{{namespace}}}{name}":
            items = [item.text for item in element.iter(f"{RDF}li")] or [element.text]
            found += [str(item) for item in items]
    return found


def test_all_but_obsolete_properties_are_kept() -> None:
    kept = Packet.parse(CAMERA).write_all(SourceType.STYLIZED)
    assert texts(kept, NS_IPTC_EXT, "DigitalSourceType") == [SourceType.STYLIZED.uri]
    assert texts(kept, NS_XMP, "Rating") == ["4"]
    assert texts(kept, NS_DC, "creator") == ["A & B", "C"]
    for name in ("Orientation", "ImageWidth"):
        assert texts(CAMERA, NS_TIFF, name)
        assert texts(kept, NS_TIFF, name) == []


GOOGLE = "http://ns.google.com/photos/1.0"
NOT_KEPT = {
    "hdrgm": ("http://ns.adobe.com/hdr-gain-map/1.0/", ["Version", "GainMapMax"]),
    "HDRGainMap": ("http://ns.apple.com/HDRGainMap/1.0/", ["HDRGainMapVersion"]),
    "GCamera": (f"{GOOGLE}/camera/", ["MicroVideo", "MicroVideoOffset", "MotionPhoto", "MotionPhotoVersion"]),
    "GDepth": (f"{GOOGLE}/depthmap/", ["Format", "Mime"]),
    "GImage": (f"{GOOGLE}/image/", ["Mime", "Data"]),
    "GAudio": (f"{GOOGLE}/audio/", ["Mime"]),
    "xmpNote": ("http://ns.adobe.com/xmp/note/", ["HasExtendedXMP"]),
    "mwg-rs": ("http://www.metadataworkinggroup.com/schemas/regions/", ["Regions"]),
    "MP": ("http://ns.microsoft.com/photo/1.2/", ["RegionInfo"]),
    "Iptc4xmpExt": (NS_IPTC_EXT, ["ImageRegion"]),
    "exif": ("http://ns.adobe.com/exif/1.0/", ["SubjectArea", "SubjectLocation", "ColorSpace"]),
    "photoshop": (NS_PHOTOSHOP, ["ColorMode", "ICCProfile"]),
    "dc": (NS_DC, ["format"]),
    "tiff": (NS_TIFF, ["BitsPerSample", "PhotometricInterpretation", "YCbCrSubSampling"]),
}
CONTAINER = f"""<Container:Directory xmlns:Container="{GOOGLE}/container/" xmlns:Item="{GOOGLE}/container/item/">
<rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Length="9"/></rdf:li></rdf:Seq>
</Container:Directory>"""


@pytest.mark.parametrize("as_attributes", [True, False])
def test_what_is_said_of_other_parts_of_the_file_is_not_kept(as_attributes: bool) -> None:
    namespaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, (uri, _) in NOT_KEPT.items())
    names = [f"{prefix}:{name}" for prefix, (_, found) in NOT_KEPT.items() for name in found] + ["GCamera:BurstID"]
    attributes = " ".join(f'{name}="1"' for name in names) if as_attributes else ""
    elements = "" if as_attributes else "".join(f"<{name}>1</{name}>" for name in names)
    described = f"<rdf:Description {namespaces} {attributes}>{elements}{CONTAINER}</rdf:Description></rdf:RDF>"
    given = CAMERA.replace(b"</rdf:RDF>", described.encode())
    kept = Packet.parse(given).write_all(SourceType.STYLIZED)
    for uri, found in NOT_KEPT.values():
        for name in found:
            assert texts(given, uri, name)
            assert texts(kept, uri, name) == []
    assert b"GainMap" in given
    assert b"Item:Semantic" not in kept
    assert texts(kept, f"{GOOGLE}/camera/", "BurstID") == ["1"]
    assert texts(kept, NS_XMP, "Rating") == ["4"]


def test_owner_properties_only() -> None:
    kept = Packet.parse(CAMERA).write_owner(SourceType.UPSCALED)
    assert texts(kept, NS_IPTC_EXT, "DigitalSourceType") == [SourceType.UPSCALED.uri]
    assert texts(kept, NS_DC, "creator") == ["A & B", "C"]
    assert texts(kept, NS_DC, "rights") == ["© 2026 A <B>"]
    assert texts(kept, NS_RIGHTS, "WebStatement") == ["https://example.org/terms"]
    assert texts(kept, NS_XMP, "Rating") == []


RIGHTS = b'<rdf:li xml:lang="x-default">\xc2\xa9 2026 A &lt;B&gt;</rdf:li>'
GERMAN, FRENCH = (f'<rdf:li xml:lang="{language}">{language}</rdf:li>'.encode() for language in ("de", "fr"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [(GERMAN + RIGHTS + FRENCH, "© 2026 A <B>"), (RIGHTS + GERMAN, "© 2026 A <B>"), (GERMAN + FRENCH, "de")],
)
def test_rights_in_several_languages_are_those_of_the_default_one(given: bytes, expected: str) -> None:
    assert RIGHTS in CAMERA
    kept = Packet.parse(CAMERA.replace(RIGHTS, given)).write_owner(SourceType.STYLIZED)
    assert texts(kept, NS_DC, "rights") == [expected]
    assert texts(kept, NS_DC, "creator") == ["A & B", "C"]


def wrap(begin: str, end: str) -> bytes:
    """The packet of a camera within other elements."""
    packet = CAMERA[CAMERA.index(b"<rdf:RDF") : CAMERA.index(b"</x:xmpmeta>")].decode()
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{begin}{packet}{end}</x:xmpmeta>'.encode()


@pytest.mark.parametrize("name", ["tiff:Orientation", "tiff:ImageWidth"])
def test_packet_within_a_property_that_is_removed_keeps_its_owner(name: str) -> None:
    data = wrap(f'<{name} xmlns:tiff="{NS_TIFF}">', f"</{name}>")
    for made in (
        Packet.parse(data).write_all(SourceType.STYLIZED),
        Packet.parse(data).write_owner(SourceType.STYLIZED),
    ):
        assert texts(made, NS_DC, "creator") == ["A & B", "C"]
        assert texts(made, NS_IPTC_EXT, "DigitalSourceType") == [SourceType.STYLIZED.uri]


@pytest.mark.parametrize(
    "data",
    [
        wrap("<a>" * 1500, "</a>" * 1500),
        wrap("<a>" * 100_000, "</a>" * 100_000),
        wrap("<a/>" * 30_000, ""),
        wrap("<!--" + "x" * 2**20 + "-->", ""),
    ],
)
def test_packet_that_is_too_deep_or_large_is_replaced(data: bytes) -> None:
    made = Packet.parse(data).write_all(SourceType.STYLIZED)
    assert texts(made, NS_IPTC_EXT, "DigitalSourceType") == [SourceType.STYLIZED.uri]
    assert texts(made, NS_DC, "creator") == []


def test_characters_that_xml_cannot_have_are_left_out() -> None:
    iptc = {"creator": ["A\x01\x1fB", "\ufffe"], "rights": ["\x00©"]}
    for made in (
        Packet.parse(CAMERA[:300], iptc).write_all(SourceType.STYLIZED),
        Packet.parse(b"", iptc).write_owner(SourceType.STYLIZED),
    ):
        assert texts(made, NS_DC, "creator")[0] == "AB"
        assert texts(made, NS_DC, "rights") == ["©"]
    other = CAMERA.replace(b"photos:creator", b"photos:contributor")
    assert texts(Packet.parse(other, iptc).write_all(SourceType.STYLIZED), NS_DC, "creator")[0] == "AB"


@pytest.mark.parametrize("data", [None, b"", b"no xml", b"<x/>", b"\xff\xfe\x00", BOMB, CAMERA[:300]])
def test_damaged_packet_is_replaced(data: bytes | None) -> None:
    packet = Packet.parse(data)
    for made in (packet.write_all(SourceType.STYLIZED), packet.write_owner(SourceType.STYLIZED)):
        assert texts(made, NS_IPTC_EXT, "DigitalSourceType") == [SourceType.STYLIZED.uri]


def test_generated_or_stylized_image_stays_so_when_it_is_upscaled() -> None:
    assert Packet.parse(CAMERA).resolve_source_type(SourceType.UPSCALED) is SourceType.UPSCALED
    for kind in (SourceType.GENERATED, SourceType.STYLIZED):
        packet = Packet.parse(Packet().write_owner(kind))
        assert packet.resolve_source_type(SourceType.UPSCALED) is kind
        assert packet.resolve_source_type(SourceType.STYLIZED) is SourceType.STYLIZED
