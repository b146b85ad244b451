from pathlib import Path

from tests.service.live import publish, serving


def test_unknown_parameters_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.get("/v1/models/wave?versio=1&page=2")
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
        assert answer.json()["detail"] == (
            "query.page: no such parameter; query.versio: no such parameter; /v1/models/{name} knows none"
        )
        assert answer.json()["known"] == []


def test_no_request_waits_for_the_description_of_the_whole_api(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        assert live.client.get("/v1/models").status_code == 200
        assert live.client.get("/v1/models?page=2").status_code == 422
        assert live.client.post("/v1/stylize/none?quality=50", content=b"x").status_code == 404
        assert live.service.app.openapi_schema is None


def test_repeated_parameters_are_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.post("/v1/stylize/wave?quality=80&quality=90", content=b"x")
        assert answer.status_code == 422
        assert answer.json()["detail"] == "query.quality: given more than once; send it once"
