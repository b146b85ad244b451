from pathlib import Path

from service.errors import ServiceError
from tests.service.imaging.images import file, photo
from tests.service.live import serving


def test_type_of_a_problem_leads_to_its_meaning(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        problem = live.client.post("/v1/stylize/cats", content=file(photo())).json()
        page = live.client.get(problem["type"]).json()
    assert page["type"] == problem["type"]
    assert page["title"] == problem["title"]
    assert page["status"] == 404
    assert page["meaning"].startswith("There is no model of that name")


def test_every_kind_is_listed(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        listed = live.client.get("/problems").json()
    assert [page["type"] for page in listed] == [f"/problems/{kind.kind}" for kind in ServiceError.kinds()]


def test_unknown_kind_is_not_found(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        answer = live.client.get("/problems/weather")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
