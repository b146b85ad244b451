import pytest
from defusedxml.ElementTree import fromstring

from service.photographs.xmp import DC, IPTC_EXTENSION, RIGHTS, TIFF, XMP, Packet, SourceType
from tests.service.photographs.samples import XMP as CAMERA

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>"""


def texts(packet: bytes, namespace: str, name: str) -> list[str]:
    """What a packet says of a property, as elements, lists or attributes."""
    found = []
    for element in fromstring(packet).iter():
        found += [value for key, value in element.items() if key == f"{{{namespace}}}{name}"]
        if element.tag == f"{{{namespace}}}{name}":
            items = [item.text for item in element.iter(f"{RDF}li")] or [element.text]
            found += [str(item) for item in items]
    return found


def test_everything_is_kept_but_what_is_no_longer_true() -> None:
    kept = Packet.parsed(CAMERA).kept(SourceType.PAINTED)
    assert texts(kept, IPTC_EXTENSION, "DigitalSourceType") == [SourceType.PAINTED.uri]
    assert texts(kept, XMP, "Rating") == ["4"]
    assert texts(kept, DC, "creator") == ["A & B", "C"]
    for name in ("Orientation", "ImageWidth"):
        assert texts(CAMERA, TIFF, name)
        assert texts(kept, TIFF, name) == []


def test_owner_is_kept_alone() -> None:
    kept = Packet.parsed(CAMERA).of_the_owner(SourceType.ENLARGED)
    assert texts(kept, IPTC_EXTENSION, "DigitalSourceType") == [SourceType.ENLARGED.uri]
    assert texts(kept, DC, "creator") == ["A & B", "C"]
    assert texts(kept, DC, "rights") == ["© 2026 A <B>"]
    assert texts(kept, RIGHTS, "WebStatement") == ["https://example.org/terms"]
    assert texts(kept, XMP, "Rating") == []


@pytest.mark.parametrize("data", [None, b"", b"no xml", b"<x/>", b"\xff\xfe\x00", BOMB, CAMERA[:300]])
def test_packet_that_is_none_is_replaced(data: bytes | None) -> None:
    packet = Packet.parsed(data)
    for made in (packet.kept(SourceType.PAINTED), packet.of_the_owner(SourceType.PAINTED)):
        assert texts(made, IPTC_EXTENSION, "DigitalSourceType") == [SourceType.PAINTED.uri]


def test_what_was_generated_or_painted_stays_so_when_it_is_enlarged() -> None:
    assert Packet.parsed(CAMERA).source_type(SourceType.ENLARGED) is SourceType.ENLARGED
    for kind in (SourceType.GENERATED, SourceType.PAINTED):
        packet = Packet.parsed(Packet().of_the_owner(kind))
        assert packet.source_type(SourceType.ENLARGED) is kind
        assert packet.source_type(SourceType.PAINTED) is SourceType.PAINTED
