import pytest

from client.formats import FORMATS, extension
from service.imaging.codecs import EXTENSIONS, WRITTEN_FORMATS


@pytest.mark.parametrize("kind", WRITTEN_FORMATS)
def test_every_format_of_the_service_has_an_extension(kind: str) -> None:
    assert FORMATS[extension(f"image/{kind}")] == kind


def test_extensions_are_those_of_the_service() -> None:
    known = {f".{name}": str(kind) for name, kind in EXTENSIONS.items()} | {
        f".{kind}": str(kind) for kind in WRITTEN_FORMATS
    }
    assert known.items() <= FORMATS.items()
