from service.http.access.token_bucket import TokenBucket
from tests.service.http.access.clock import Clock


def test_bucket_fills_at_its_rate_up_to_a_minute() -> None:
    clock = Clock()
    bucket = TokenBucket(120, clock)
    assert bucket.balance() == 120
    bucket.take(120)
    clock.now += 30
    assert bucket.balance() == 60
    assert bucket.full_in() == 30
    clock.now += 3600
    assert bucket.balance() == 120
    assert bucket.full_in() == 0


def test_debt_is_paid_before_the_next_request() -> None:
    clock = Clock()
    bucket = TokenBucket(60, clock)
    assert bucket.wait() == 0
    bucket.take(90)  # more than fits: no request is too large
    assert bucket.balance() == -30
    assert bucket.wait() == 31
    clock.now += bucket.wait()
    assert bucket.wait() == 0


def test_rate_holds_in_the_long_run() -> None:
    clock, taken = Clock(), 0.0
    bucket = TokenBucket(60, clock)
    for _ in range(600):
        if not bucket.wait():
            bucket.take(25)
            taken += 25
        clock.now += 1
    assert 600 <= taken <= 600 + 60 + 25


def test_what_is_given_back_never_overfills_it() -> None:
    bucket = TokenBucket(60, Clock())
    bucket.take(-10)
    assert bucket.balance() == 60
