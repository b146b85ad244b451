import re
from pathlib import Path

import pytest

from service.http.routes.playground import FOLDER, MEDIA_TYPES, PAGE, POLICY, PlaygroundRoutes
from tests.service.http.access.keyed import write_keys
from tests.service.live import serving

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
BUDGET = 100_000
FILES = sorted(path.name for path in FOLDER.iterdir())


def named(text: str) -> set[str]:
    """The files of the page that a text loads."""
    return set(re.findall(r'(?:playground/|from "\./)([\w.-]+)', text))


def test_files_are_few_bytes_and_all_of_them_are_loaded() -> None:
    assert sum(len((FOLDER / name).read_bytes()) for name in FILES) < BUDGET
    assert {Path(name).suffix for name in FILES} <= MEDIA_TYPES.keys()
    texts = [(FOLDER / name).read_text() for name in FILES if name.endswith((".html", ".js"))]
    assert set.union(*map(named, texts)) | {PAGE} == set(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".webp")])
def test_nothing_leads_outside_or_to_the_root_of_the_host(name: str) -> None:
    text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert "//" not in re.sub(r"(?m)^\s*//.*$|\s// .*$", "", text)
    assert not re.search(r"""(?:src|href|url\(|import|fetch\()\s*=?\s*["']?/""", text)


def test_browsers_get_the_page_and_all_others_what_they_got_before(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        page = live.client.get("/", headers=BROWSER)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Content-Security-Policy"] == POLICY
        assert "<title>Pastiche</title>" in page.text
        assert live.client.head("/", headers=BROWSER).headers["ETag"] == page.headers["ETag"]
        for accept in ("*/*", "application/json", "text/html;q=0.5, application/json", "image/png"):
            links = live.client.get("/", headers={"Accept": accept})
            assert links.json()["models"] == "/v1/models"
            assert links.headers["Vary"] == page.headers["Vary"] == "Accept"


@pytest.mark.parametrize("query", ["fbclid=IwAR0", "utm_source=news&utm_source=news"])
def test_links_with_parameters_of_others_lead_to_the_page(tmp_path: Path, query: str) -> None:
    with serving(tmp_path, root_path="/pastiche") as live:
        for path in ("/", "/pastiche/"):
            assert "<title>Pastiche</title>" in live.client.get(f"{path}?{query}", headers=BROWSER).text
        assert live.client.get(f"/pastiche?{query}", headers=BROWSER).status_code == 307
        assert live.client.get(f"/v1/models?{query}", headers=BROWSER).status_code == 422


def test_files_are_kept_until_they_change(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        for name in FILES:
            path, headers = ("/", BROWSER) if name == PAGE else (f"/playground/{name}", {})
            answer = live.client.get(path, headers=headers)
            assert answer.content == (FOLDER / name).read_bytes()
            assert answer.headers["Cache-Control"] == "no-cache"
            again = live.client.get(path, headers=headers | {"If-None-Match": answer.headers["ETag"]})
            assert (again.status_code, again.content) == (304, b"")
        for unknown in (f"/playground/{PAGE}", "/playground/none.js", "/playground/..%2fsettings.py", "/playground"):
            assert live.client.get(unknown).json()["type"] == "/problems/not-found"


def test_page_can_be_switched_off(tmp_path: Path) -> None:
    with serving(tmp_path, playground=False) as live:
        assert live.client.get("/", headers=BROWSER).json()["models"] == "/v1/models"
        assert live.client.get("/playground/app.js").status_code == 404


def test_page_is_public_where_the_api_is_not_and_its_files_use_up_no_limit(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.toml", shop="")
    options = {"keys_file": tmp_path / "keys.toml", "address_requests_per_minute": 3}
    with serving(tmp_path / "models", **options) as live:
        assert live.client.get("/", headers=BROWSER).status_code == 200
        assert {live.client.get(f"/playground/{name}").status_code for name in FILES if name != PAGE} == {200}
        assert live.client.get("/v1/models").status_code == 401


def test_prefix_without_a_slash_leads_to_the_page_with_one(tmp_path: Path) -> None:
    with serving(tmp_path, root_path="/pastiche") as live:
        moved = live.client.get("/pastiche", headers=BROWSER)
        assert (moved.status_code, moved.headers["Location"]) == (307, "/pastiche/")
        assert live.client.get("/pastiche").json()["models"] == "/pastiche/v1/models"
        assert live.client.get("/pastiche/", headers=BROWSER).status_code == 200
        assert live.client.get("/", headers=BROWSER).status_code == 200  # a proxy that removes the prefix


def test_routes_have_what_the_page_needs_in_memory() -> None:
    assert [getattr(route, "path", "") for route in PlaygroundRoutes().router.routes] == ["/playground/{file}"]
