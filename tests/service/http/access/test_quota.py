import pytest

from service.errors import CorruptImage, JobConflict, Overloaded, QuotaExceeded, ServiceError
from service.http.access.api_key import LimitPolicy
from service.http.access.quota import IN_FLIGHT, PIXELS, REQUESTS, Quota
from tests.service.http.access.clock import Clock


def test_client_without_limits_may_ask_for_everything() -> None:
    limits = Quota(LimitPolicy())
    for _ in range(1000):
        limits.enter()
    with limits.charge(10**12):
        limits.check_pixels()
    assert limits.in_flight == 1000
    assert limits.headers() == []
    assert not limits.counts_pixels


def test_requests_in_flight_are_limited() -> None:
    limits = Quota(LimitPolicy(requests_in_flight=2))
    limits.enter()
    limits.enter()
    with pytest.raises(QuotaExceeded, match="2 requests of this client are in flight; 2 are accepted") as refused:
        limits.enter()
    assert refused.value.members["violated-policies"] == [IN_FLIGHT]
    assert refused.value.retry_after == 1
    limits.leave()
    limits.enter()


def test_requests_per_minute_are_limited() -> None:
    clock = Clock()
    limits = Quota(LimitPolicy(requests_per_minute=2), clock)
    for _ in range(2):
        limits.enter()
        limits.leave()
    with pytest.raises(QuotaExceeded, match="2 requests per minute") as refused:
        limits.enter()
    assert refused.value.members["violated-policies"] == [REQUESTS]
    assert limits.in_flight == 0
    assert refused.value.retry_after is not None
    clock.now += refused.value.retry_after
    limits.enter()


def test_image_larger_than_what_is_left_is_accepted_and_the_next_one_waits() -> None:
    clock = Clock()
    limits = Quota(LimitPolicy(megapixels_per_minute=1), clock)
    with limits.charge(3_000_000):
        pass
    with pytest.raises(QuotaExceeded, match="1 megapixels per minute") as refused:
        limits.check_pixels()
    assert refused.value.members["violated-policies"] == [PIXELS]
    assert refused.value.retry_after == 121
    clock.now += 121
    limits.check_pixels()


def test_of_requests_let_in_together_the_first_takes_what_is_there() -> None:
    limits = Quota(LimitPolicy(megapixels_per_minute=1), Clock())
    limits.check_pixels()
    limits.check_pixels()
    with limits.charge(1_000_000), pytest.raises(QuotaExceeded), limits.charge(1):
        pass


def test_service_that_is_full_costs_nothing_but_bad_images_do() -> None:
    limits = Quota(LimitPolicy(megapixels_per_minute=1), Clock())
    with pytest.raises(Overloaded), limits.charge(2_000_000):
        raise Overloaded("full", retry_after=1)
    limits.check_pixels()
    with pytest.raises(CorruptImage), limits.charge(2_000_000):
        raise CorruptImage("broken")
    with pytest.raises(QuotaExceeded):
        limits.check_pixels()


def test_headers_say_what_is_left() -> None:
    policy = LimitPolicy(megapixels_per_minute=2, requests_per_minute=30, requests_in_flight=4)
    limits = Quota(policy, Clock())
    limits.enter()
    with limits.charge(500_000):
        assert dict(limits.headers()) == {
            b"ratelimit-policy": b'"pixels";q=2000000;qu="pixels";w=60, "requests";q=30;qu="requests";w=60, '
            b'"requests-in-flight";q=4;qu="concurrent-requests"',
            b"ratelimit": b'"pixels";r=1500000;t=15, "requests";r=29;t=2, "requests-in-flight";r=3',
        }


def test_new_limits_hold_at_once_and_equal_ones_forgive_nothing() -> None:
    limits = Quota(LimitPolicy(megapixels_per_minute=1), Clock())
    with limits.charge(5_000_000):
        pass
    limits.update(LimitPolicy(megapixels_per_minute=1))
    with pytest.raises(QuotaExceeded):
        limits.check_pixels()
    limits.update(LimitPolicy(megapixels_per_minute=2))
    limits.check_pixels()


def test_change_of_one_limit_forgives_nothing_in_the_others() -> None:
    policy = LimitPolicy(megapixels_per_minute=1, requests_per_minute=1)
    limits = Quota(policy, Clock())
    limits.enter()
    with limits.charge(5_000_000):
        pass
    limits.update(policy.model_copy(update={"requests_in_flight": 9, "requests_per_minute": 2}))
    with pytest.raises(QuotaExceeded, match="1 megapixels per minute"):
        limits.check_pixels()
    limits.enter()
    limits.update(policy.model_copy(update={"megapixels_per_minute": 2, "requests_per_minute": 2}))
    limits.check_pixels()
    limits.enter()
    with pytest.raises(QuotaExceeded, match="2 requests per minute"):
        limits.enter()


@pytest.mark.parametrize("failure", [Overloaded("full"), QuotaExceeded("too many jobs"), JobConflict("other")])
def test_what_is_not_done_costs_nothing(failure: ServiceError) -> None:
    quota = Quota(LimitPolicy(megapixels_per_minute=1))
    with pytest.raises(type(failure)), quota.charge(1_500_000):
        raise failure
    quota.check_pixels()


def test_large_limit_is_told_in_full() -> None:
    quota = Quota(LimitPolicy(megapixels_per_minute=1234567.5))
    with quota.charge(2 * 10**12):
        pass
    with pytest.raises(QuotaExceeded, match=r"1234567\.5 megapixels per minute"):
        quota.check_pixels()
