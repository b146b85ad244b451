"""A hook of mkdocs: documents that lie elsewhere in the repository become pages, and links to them lead there.

In the repository `docs/` is a folder beside them; in the site they lie in it.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

PAGES = {
    "index.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "benchmarks/RESULTS.md": "benchmarks/RESULTS.md",
    "benchmarks/PAPER.md": "benchmarks/PAPER.md",
}
"""Paths in the site, and in the repository."""

OUT_OF_DOCS, INTO_DOCS, TO_README = re.compile(r"\]\(\.\./"), re.compile(r"\]\(docs/"), re.compile(r"\]\(README\.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the pictures beside them."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    pictures = (path for path in (ROOT / "benchmarks" / "paper").iterdir() if path.suffix in (".jpg", ".png"))
    for picture in sorted(pictures):
        files.append(File.generated(config, str(picture.relative_to(ROOT)), abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 # by name
    """Turn the links of the repository into those of the site."""
    source = page.file.src_uri
    if source in PAGES:
        depth = "../" * source.count("/")
        return TO_README.sub(f"]({depth}index.md", INTO_DOCS.sub(f"]({depth}", markdown))
    return OUT_OF_DOCS.sub("](", markdown)
