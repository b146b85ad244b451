"""XMP packets (ISO 16684-1): the digital source type of an image, its creator and its rights."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any
from xml.dom.minidom import Element
from xml.parsers.expat import ExpatError
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException, sax
from defusedxml.minidom import parseString

NS_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NS_DC = "http://purl.org/dc/elements/1.1/"
NS_RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
NS_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
NS_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
NS_TIFF = "http://ns.adobe.com/tiff/1.0/"
NS_EXIF = "http://ns.adobe.com/exif/1.0/"
NS_XMP = "http://ns.adobe.com/xap/1.0/"

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"

OBSOLETE_PROPERTIES: Mapping[str, Sequence[str]] = {
    NS_TIFF: (
        *("ImageWidth", "ImageLength", "Orientation", "BitsPerSample", "Compression", "PhotometricInterpretation"),
        *("SamplesPerPixel", "PlanarConfiguration", "YCbCr*", "WhitePoint", "PrimaryChromaticities"),
        *("TransferFunction", "ReferenceBlackWhite"),
    ),
    NS_EXIF: (
        *("PixelXDimension", "PixelYDimension", "SubjectArea", "SubjectLocation", "ColorSpace"),
        *("ComponentsConfiguration", "CompressedBitsPerPixel"),
    ),
    NS_PHOTOSHOP: ("ColorMode", "ICCProfile"),
    NS_DC: ("format",),
    NS_XMP: ("Thumbnails",),
    NS_IPTC_EXT: ("DigitalSourceType", "ImageRegion"),
    "http://www.metadataworkinggroup.com/schemas/regions/": ("Regions",),
    "http://ns.microsoft.com/photo/1.2/": ("RegionInfo",),
    "http://ns.adobe.com/xmp/note/": ("HasExtendedXMP",),
    "http://ns.adobe.com/hdr-gain-map/1.0/": ("*",),
    "http://ns.apple.com/HDRGainMap/1.0/": ("*",),
    "http://ns.google.com/photos/1.0/container/": ("*",),
    "http://ns.google.com/photos/1.0/camera/": ("MicroVideo*", "MotionPhoto*"),
    "http://ns.google.com/photos/1.0/depthmap/": ("*",),
    "http://ns.google.com/photos/1.0/image/": ("*",),
    "http://ns.google.com/photos/1.0/audio/": ("*",),
}
"""Patterns of properties, by namespace, that hold for the input only: its size, places in it (faces are where they are
before it is turned upright), how its colours and its file are coded, and what the file has beside the picture (more
XMP, a gain map, a depth map, a video)."""

OWNER_PROPERTIES = [
    (NS_DC, "dc", "creator"),
    (NS_DC, "dc", "rights"),
    (NS_RIGHTS, "xmpRights", "Owner"),
    (NS_RIGHTS, "xmpRights", "UsageTerms"),
    (NS_RIGHTS, "xmpRights", "WebStatement"),
    (NS_RIGHTS, "xmpRights", "Marked"),
    (NS_PHOTOSHOP, "photoshop", "Credit"),
]
CONTAINERS = {"creator": "rdf:Seq", "Owner": "rdf:Bag"}
"""Owner properties that are arrays of texts, ordered or not."""

MAX_PACKET_BYTES, MAX_ELEMENTS, MAX_DEPTH = 2**20, 20_000, 64
"""What is parsed of packets. A document takes a kilobyte for each element, and recurses into it."""

NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot have (XML 1.0, section 2.2), but IPTC-IIM can."""

LANGUAGE_ALTERNATIVES = {"rights", "UsageTerms"}
"""Owner properties with a text in each language; all other properties are simple values."""

DEFAULT_LANGUAGE = "x-default"
"""The language of the text for all who ask for none of the others (ISO 16684-1, section 8.2.2.4)."""


class SourceType(StrEnum):
    """IPTC's digital source types of outputs (NewsCodes, digitalsourcetype)."""

    STYLIZED = "compositeWithTrainedAlgorithmicMedia"
    UPSCALED = "algorithmicallyEnhanced"
    GENERATED = "trainedAlgorithmicMedia"

    @property
    def uri(self) -> str:
        """The value in a packet."""
        return f"{VOCABULARY}{self.value}"


@dataclass(frozen=True)
class Packet:
    """The XMP of a file; empty where there is none or it is damaged."""

    document: Any = None
    """A `xml.dom.minidom.Document`."""
    iptc: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Owner properties that the file has in IPTC-IIM, by their names in XMP."""

    @classmethod
    def parse(cls, data: bytes | None, iptc: Mapping[str, Sequence[str]] | None = None) -> "Packet":
        """Parse a packet; one that is damaged, or no XMP, is taken for missing."""
        others = iptc or {}
        if not data:
            return cls(None, others)
        try:
            document = _parse_xml(_check_structure(data.strip(b"\0 \r\n")))
        except (ExpatError, SAXException, DefusedXmlException, ValueError, LookupError):
            return cls(None, others)
        return cls(document if document.getElementsByTagNameNS(NS_RDF, "RDF") else None, others)

    def resolve_source_type(self, source_type: SourceType) -> SourceType:
        """The source type of an output: an upscaled image that was generated or stylized before stays so."""
        if source_type is not SourceType.UPSCALED:
            return source_type
        texts = self._read_texts(NS_IPTC_EXT, "DigitalSourceType")
        return next((kind for kind in (SourceType.GENERATED, SourceType.STYLIZED) if kind.uri in texts), source_type)

    def write_all(self, source_type: SourceType) -> bytes:
        """Serialize everything that holds for an output, and the owner properties that only IPTC-IIM has."""
        added = self._owner_properties(lambda texts, others: [] if texts else others)
        if self.document is None:
            return _build_packet(added, source_type)
        copy = _parse_xml(self.document.toxml().encode())
        _remove_obsolete(copy)
        rdf = next(iter(copy.getElementsByTagNameNS(NS_RDF, "RDF")), None)
        if rdf is None:  # it was within a property that is removed
            return self.write_owner(source_type)
        rdf.appendChild(_parse_xml(_build_description(added, source_type).encode()).documentElement)
        return b"".join(node.toxml().encode() for node in copy.childNodes if node.nodeType == node.ELEMENT_NODE)

    def write_owner(self, source_type: SourceType) -> bytes:
        """Serialize creator and rights only."""
        return _build_packet(self._owner_properties(lambda texts, others: texts or others), source_type)

    def _owner_properties(self, choose: Callable[[Sequence[str], Sequence[str]], Sequence[str]]) -> str:
        """The XML of the owner properties; `choose` selects from the values in XMP and those in IPTC-IIM."""
        chosen = (
            (prefix, name, choose(self._read_texts(namespace, name), self.iptc.get(name, ())))
            for namespace, prefix, name in OWNER_PROPERTIES
        )
        return "".join(_build_property(prefix, name, texts) for prefix, name, texts in chosen if texts)

    def _read_texts(self, namespace: str, name: str) -> list[str]:
        """The values of a property, an attribute, an element or an array of items, the default one first."""
        elements = self._elements.get((namespace, name), ())
        items = [item for element in elements for item in element.getElementsByTagNameNS(NS_RDF, "li") or [element]]
        items.sort(key=lambda item: item.getAttribute("xml:lang") != DEFAULT_LANGUAGE)
        descriptions = self._elements.get((NS_RDF, "Description"), ())
        attributes = (element.getAttributeNS(namespace, name) for element in descriptions)
        return [text for text in (*attributes, *(_element_text(item) for item in items)) if text]

    @cached_property
    def _elements(self) -> Mapping[tuple[str | None, str], Sequence[Any]]:
        """All elements by namespace and name: a search of its own for each property takes ten times as long."""
        found: dict[tuple[str | None, str], list[Any]] = {}
        for element in self.document.getElementsByTagName("*") if self.document else ():
            found.setdefault((element.namespaceURI, element.localName), []).append(element)
        return found


class _StructureCheck(ContentHandler):
    """Raises ValueError for what is too large, or nested too deep, to become a document."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = self._depth = 0

    def startElement(self, name: str, attrs: object) -> None:  # noqa: N802, ARG002 # SAX's names
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_ELEMENTS or self._depth > MAX_DEPTH:
            raise ValueError("the packet has too many elements")

    def endElement(self, name: str) -> None:  # noqa: N802, ARG002 # SAX's names
        self._depth -= 1


def _check_structure(data: bytes) -> bytes:
    """Return a packet that is small and flat enough. Raises ValueError for others."""
    if len(data) > MAX_PACKET_BYTES:
        raise ValueError("the packet is too large")
    sax.parseString(data, _StructureCheck())
    return data


def _parse_xml(data: bytes) -> Any:
    """A `Document`, but Any: its stubs are too narrow to be of use."""
    return parseString(data)  # type: ignore[arg-type] # which takes bytes as well


def _descriptions(document: Any) -> Any:
    return document.getElementsByTagNameNS(NS_RDF, "Description")


def _remove_obsolete(document: Any) -> None:
    """Remove OBSOLETE_PROPERTIES, which may be elements or attributes."""
    for element in list(document.getElementsByTagName("*")):
        if _is_obsolete(element):
            element.parentNode.removeChild(element)
    for element in _descriptions(document):
        for attribute in filter(_is_obsolete, list(element.attributes.values())):
            element.removeAttributeNode(attribute)


def _is_obsolete(node: Any) -> bool:
    patterns = OBSOLETE_PROPERTIES.get(node.namespaceURI, ())
    return any(fnmatchcase(node.localName, pattern) for pattern in patterns)


def _element_text(element: Element) -> str:
    return "".join(_iterate_text(element)).strip()


def _iterate_text(element: Element) -> Iterator[str]:
    return (node.data for node in element.childNodes if node.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE))


def _build_property(prefix: str, name: str, texts: Sequence[str]) -> str:
    tag, escaped = f"{prefix}:{name}", [escape(NOT_IN_XML.sub("", text)) for text in texts]
    if name in LANGUAGE_ALTERNATIVES:
        return f'<{tag}><rdf:Alt><rdf:li xml:lang="{DEFAULT_LANGUAGE}">{escaped[0]}</rdf:li></rdf:Alt></{tag}>'
    if name in CONTAINERS:
        items = "".join(f"<rdf:li>{text}</rdf:li>" for text in escaped)
        return f"<{tag}><{CONTAINERS[name]}>{items}</{CONTAINERS[name]}></{tag}>"
    return f"<{tag}>{escaped[0]}</{tag}>"


def _build_packet(properties: str, source_type: SourceType) -> bytes:
    description = _build_description(properties, source_type)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{NS_RDF}">{description}</rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def _build_description(properties: str, source_type: SourceType) -> str:
    owner = {"dc": NS_DC, "xmpRights": NS_RIGHTS, "photoshop": NS_PHOTOSHOP} if properties else {}
    declared = {"rdf": NS_RDF, "Iptc4xmpExt": NS_IPTC_EXT, **owner}
    namespaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in declared.items())
    kind = f"<Iptc4xmpExt:DigitalSourceType>{source_type.uri}</Iptc4xmpExt:DigitalSourceType>"
    return f'<rdf:Description rdf:about="" {namespaces}>{kind}{properties}</rdf:Description>'
