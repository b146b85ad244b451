import pytest

from service.errors import NotFound
from service.http.failure_forms import PROBLEMS
from service.http.problems import PROBLEM_MEDIA_TYPE


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/v1/stylize/wave", PROBLEM_MEDIA_TYPE),
        ("/v1/images/edits", "application/json"),
        ("/v1/images/editsuite", PROBLEM_MEDIA_TYPE),
        ("/v2", "application/json"),
        ("/v2/models/wave", "application/json"),
        ("/sdapi/v1/upscalers", "application/json"),
    ],
)
def test_failures_at_the_paths_of_other_apis_have_their_forms(path: str, media_type: str) -> None:
    answer = PROBLEMS.renderer(path)(NotFound("there is nothing"), "mine", "")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, media_type)
