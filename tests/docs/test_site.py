"""The documents as a site: mkdocs builds it without a warning, and every document is a page of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, documents

pytest.importorskip("material", reason="mkdocs-material is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_document_is_a_page_of_the_navigation(site: Path) -> None:
    pages = {path.stem for path in site.rglob("*.html")}
    names = {"index" if path.name == "README.md" else path.stem for path in documents()}
    assert names <= pages
    front = (site / "index.html").read_text()
    assert all(f"{name}.html" in front for name in names - {"index"})


def test_links_of_the_repository_lead_to_pages(site: Path) -> None:
    """Documents link to each other as files of the repository."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in re.findall(r'(?:href|src)="([^"#?:]+)[#"]', page.read_text()):
            assert (page.parent / target).exists() or target.startswith("/"), f"{page.name}: {target}"


def test_pages_ask_no_other_site(site: Path) -> None:
    front = (site / "index.html").read_text()
    assert not re.findall(r'<(?:script|img)[^>]+src="https?:|<link[^>]+rel="stylesheet"[^>]+href="https?:', front)
