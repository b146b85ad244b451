from service.errors import ServiceError
from service.http.problem_responses import problem_responses, titles_of


def test_each_status_has_the_titles_of_its_problems_and_their_form() -> None:
    described = problem_responses(404, 429)
    assert set(described) == {404, 429}
    for status, description in described.items():
        assert description["description"] == titles_of(int(status))
        schema = description["content"]["application/problem+json"]["schema"]
        assert schema["required"] == ["type", "title", "status", "detail", "instance"]


def test_titles_of_a_status_are_those_of_all_its_kinds() -> None:
    for kind in ServiceError.kinds():
        assert kind.title in titles_of(kind.status).split("; ")
