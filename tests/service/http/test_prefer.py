import pytest

from service.http.prefer import Preference


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, Preference()),
        ([], Preference()),
        (["respond-async"], Preference(respond_async=True)),
        (["Respond-Async; x=y, wait=10"], Preference(respond_async=True, wait=10)),
        (["wait = 10", "respond-async"], Preference(respond_async=True, wait=10)),
        (['wait="7"'], Preference(wait=7)),
        (["wait=5, wait=9"], Preference(wait=5)),
        (["return=minimal, handling=lenient"], Preference()),
        (["wait=-1"], Preference()),
        (["wait=soon"], Preference()),
        (["wait=99999999999999"], Preference()),
        (["respond-asynchronously"], Preference()),
    ],
)
def test_preferences_are_read(headers: list[str] | None, expected: Preference) -> None:
    assert Preference.parse(headers) == expected
