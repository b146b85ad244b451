from pathlib import Path

from tests.service.live import serving


def test_root_names_paths_that_exist(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        links = live.client.get("/").json()
        assert links["service"].startswith("pastiche ")
        for name in ("documentation", "models", "problems"):
            assert live.client.get(links[name]).is_success
