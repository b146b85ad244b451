import pytest

from service.http.request_id import request_id


@pytest.mark.parametrize("offered", ["a", "7f3c-1", "trace:1/2+3=4@x~y", "x" * 128])
def test_safe_id_of_the_client_is_kept(offered: str) -> None:
    assert request_id(offered) == offered


@pytest.mark.parametrize("offered", ["", "x" * 129, "two words", "line\nbreak", "<script>", "é"])
def test_id_that_could_forge_a_log_line_is_replaced(offered: str) -> None:
    given = request_id(offered)
    assert given != offered
    assert len(given) == 32
    assert request_id(offered) != given
