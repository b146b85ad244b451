"""XMP packets (ISO 16684-1): what they say of an image's origin and of its owner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from xml.dom.minidom import Element
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.minidom import parseString

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"

OF_ANOTHER_SIZE = [(TIFF, "ImageWidth"), (TIFF, "ImageLength"), (EXIF, "PixelXDimension"), (EXIF, "PixelYDimension")]
OF_THE_OLD_FILE = [*OF_ANOTHER_SIZE, (TIFF, "Orientation"), (XMP, "Thumbnails"), (IPTC_EXTENSION, "DigitalSourceType")]
"""Properties that are not true of an answer."""

OF_THE_OWNER = [
    (DC, "dc", "creator"),
    (DC, "dc", "rights"),
    (RIGHTS, "xmpRights", "Owner"),
    (RIGHTS, "xmpRights", "UsageTerms"),
    (RIGHTS, "xmpRights", "WebStatement"),
    (RIGHTS, "xmpRights", "Marked"),
    (PHOTOSHOP, "photoshop", "Credit"),
]
ORDERED, TRANSLATED = {"creator"}, {"rights", "UsageTerms"}
"""Properties that are sequences, and those that are alternatives by language; Owner is a bag."""


class SourceType(StrEnum):
    """IPTC's digital source types that answers have (NewsCodes, digitalsourcetype)."""

    PAINTED = "compositeWithTrainedAlgorithmicMedia"
    ENLARGED = "algorithmicallyEnhanced"
    GENERATED = "trainedAlgorithmicMedia"

    @property
    def uri(self) -> str:
        """As it stands in a packet."""
        return f"{VOCABULARY}{self.value}"


@dataclass(frozen=True)
class Packet:
    """The XMP of a file, empty where there is none or it is no XML."""

    document: Any = None
    """A `xml.dom.minidom.Document`."""
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Properties of the owner, by their names, that stand in the file in another form."""

    @classmethod
    def parsed(cls, data: bytes | None, elsewhere: Mapping[str, Sequence[str]] | None = None) -> "Packet":
        """Of the bytes of a packet, whatever they are: a photograph is not lost for them."""
        others = elsewhere or {}
        if not data:
            return cls(None, others)
        try:
            document = _read(data.strip(b"\0 \r\n"))
        except (ExpatError, DefusedXmlException, ValueError, LookupError):
            return cls(None, others)
        return cls(document if document.getElementsByTagNameNS(RDF, "RDF") else None, others)

    def source_type(self, made: SourceType) -> SourceType:
        """That of an answer: what is generated stays so, however it is enlarged."""
        generated = (SourceType.GENERATED, SourceType.PAINTED)
        texts = self._texts(IPTC_EXTENSION, "DigitalSourceType")
        return next((kind for kind in generated if kind.uri in texts), made) if made is SourceType.ENLARGED else made

    def kept(self, source_type: SourceType) -> bytes:
        """All of it that is true of an answer too, and what only stands elsewhere."""
        added = self._properties(lambda texts, others: [] if texts else others)
        if self.document is None:
            return _packet(added, source_type)
        copy = _read(self.document.toxml().encode())
        for namespace, name in OF_THE_OLD_FILE:
            _remove(copy, namespace, name)
        rdf = copy.getElementsByTagNameNS(RDF, "RDF")[0]
        rdf.appendChild(_read(_description(added, source_type).encode()).documentElement)
        return b"".join(node.toxml().encode() for node in copy.childNodes if node.nodeType == node.ELEMENT_NODE)

    def of_the_owner(self, source_type: SourceType) -> bytes:
        """A packet of the creator and the rights alone."""
        return _packet(self._properties(lambda texts, others: texts or others), source_type)

    def _properties(self, chosen: Callable[[Sequence[str], Sequence[str]], Sequence[str]]) -> str:
        """Those of the owner, of the texts that are chosen of those here and those elsewhere."""
        found = (
            (prefix, name, chosen(self._texts(namespace, name), self.elsewhere.get(name, ())))
            for namespace, prefix, name in OF_THE_OWNER
        )
        return "".join(_property(prefix, name, texts) for prefix, name, texts in found if texts)

    def _texts(self, namespace: str, name: str) -> list[str]:
        """The values of a property, whether it is an attribute, an element or a list of items."""
        if self.document is None:
            return []
        elements = self.document.getElementsByTagNameNS(namespace, name)
        items = [item for element in elements for item in element.getElementsByTagNameNS(RDF, "li") or [element]]
        attributes = (element.getAttributeNS(namespace, name) for element in _descriptions(self.document))
        return [text for text in (*attributes, *(_text(item) for item in items)) if text]


def _read(data: bytes) -> Any:
    """The document of some XML; its types are too narrow to be of use."""
    return parseString(data)  # type: ignore[arg-type] # which takes bytes as well


def _descriptions(document: Any) -> Any:
    return document.getElementsByTagNameNS(RDF, "Description")


def _remove(document: Any, namespace: str, name: str) -> None:
    for element in list(document.getElementsByTagNameNS(namespace, name)):
        element.parentNode.removeChild(element)
    for element in _descriptions(document):
        if element.hasAttributeNS(namespace, name):
            element.removeAttributeNS(namespace, name)


def _text(element: Element) -> str:
    return "".join(_characters(element)).strip()


def _characters(element: Element) -> Iterator[str]:
    return (node.data for node in element.childNodes if node.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE))


def _property(prefix: str, name: str, texts: Sequence[str]) -> str:
    tag = f"{prefix}:{name}"
    if name in TRANSLATED:
        return f'<{tag}><rdf:Alt><rdf:li xml:lang="x-default">{escape(texts[0])}</rdf:li></rdf:Alt></{tag}>'
    if name in ORDERED or name == "Owner":
        container = "rdf:Seq" if name in ORDERED else "rdf:Bag"
        items = "".join(f"<rdf:li>{escape(text)}</rdf:li>" for text in texts)
        return f"<{tag}><{container}>{items}</{container}></{tag}>"
    return f"<{tag}>{escape(texts[0])}</{tag}>"


def _packet(properties: str, source_type: SourceType) -> bytes:
    description = _description(properties, source_type)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">{description}</rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def _description(properties: str, source_type: SourceType) -> str:
    spaces = {"dc": DC, "xmpRights": RIGHTS, "photoshop": PHOTOSHOP} if properties else {}
    declared = {"rdf": RDF, "Iptc4xmpExt": IPTC_EXTENSION, **spaces}
    namespaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in declared.items())
    kind = f"<Iptc4xmpExt:DigitalSourceType>{source_type.uri}</Iptc4xmpExt:DigitalSourceType>"
    return f'<rdf:Description rdf:about="" {namespaces}>{kind}{properties}</rdf:Description>'
