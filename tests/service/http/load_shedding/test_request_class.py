import pytest

from service.http.load_shedding.request_class import RequestClass, classify, size_class, timeout_class


@pytest.mark.parametrize(("seconds", "alike"), [(15.0, True), (13.6, True), (12.0, False), (17.0, False)])
def test_clients_are_alike_that_give_nearly_the_same_time(seconds: float, alike: bool) -> None:
    assert (timeout_class(seconds) == timeout_class(15.0)) == alike


@pytest.mark.parametrize(("length", "alike"), [(1000, True), (513, True), (511, False), (1025, False), (0, False)])
def test_bodies_are_alike_within_a_power_of_two(length: int, alike: bool) -> None:
    assert (size_class(length) == size_class(1000)) == alike


def test_compressed_body_tells_nothing_of_its_image() -> None:
    def known(*fields: tuple[bytes, bytes]) -> bool:
        scope = {"path": "/", "query_string": b"", "headers": [(b"content-length", b"100"), *fields]}
        return classify(scope, 60, 600) is not None

    assert known()
    assert not known((b"content-encoding", b"gzip"))


def test_credentials_make_another_class_and_some_headers_none() -> None:
    def classified(*fields: tuple[bytes, bytes]) -> RequestClass | None:
        headers = [(b"content-length", b"10"), *fields]
        return classify({"path": "/v1/stylize/wave", "query_string": b"", "headers": headers}, 60, 600)

    keys = [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b"), (b"x-api-key", b"Bearer a")]
    classes = [classified(), *(classified(key) for key in keys)]
    assert len(set(classes)) == 4
    assert None not in classes
    for header in ((b"origin", b"https://app.example"), (b"x-forwarded-prefix", b"/p")):
        assert classified(header) is None
