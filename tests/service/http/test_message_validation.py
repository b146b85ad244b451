import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from service.http.message_validation import invalid_request


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    side: int


class Outer(BaseModel):
    inner: list[Inner]


@pytest.mark.parametrize(
    ("document", "where", "detail"),
    [
        ('{"inner": [{"side": "secret"}]}', "", "inner.0.side: Input should be a valid integer"),
        ('{"inner": [{"side": 1, "b": 2}]}', "options", "options.inner.0.b: there is no such field"),
        ("{", "", "Invalid JSON"),
    ],
)
def test_faults_say_where_they_are_and_not_what_was_sent(document: str, where: str, detail: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(document)
    failure = invalid_request(caught.value, where)
    assert failure.detail.startswith(detail)
    assert "secret" not in failure.detail
