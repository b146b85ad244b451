from service.engine.patience import Patience


def test_nobody_was_seen_to_leave() -> None:
    patience = Patience()
    assert patience.seconds() == float("inf")
    for _ in range(50):
        patience.observe(9.0, left=False)
    assert patience.seconds() == float("inf")


def test_patience_is_the_age_that_few_reach() -> None:
    """By hand, after Kaplan and Meier: of ten, those answered leave the sample, and each departure is a factor."""
    patience = Patience()
    for age in range(1, 21):
        patience.observe(float(age), left=True)
    assert patience.seconds() == 17.0  # 3 of 20 are left, the first time that fewer than a fifth are

    mixed = Patience()
    for age in range(1, 21):
        mixed.observe(float(age), left=age % 2 == 0)
    present, expected = 1.0, float("inf")
    for age in range(2, 19, 2):
        present *= 1 - 1 / (21 - age)
        if present < 0.2:
            expected = min(expected, float(age))
    assert mixed.seconds() == expected


def test_a_few_impatient_clients_decide_nothing() -> None:
    patience = Patience()
    for _ in range(5):
        patience.observe(0.1, left=True)
    for _ in range(20):
        patience.observe(2.0, left=False)
    assert patience.seconds() == float("inf")
    few = Patience()
    for _ in range(8):
        few.observe(0.1, left=True)
    assert few.seconds() == float("inf")


def test_patience_of_long_ago_is_forgotten() -> None:
    now = [1000.0]
    patience = Patience(window_seconds=60.0, clock=lambda: now[0])
    for _ in range(20):
        patience.observe(5.0, left=True)
    now[0] += 59
    assert patience.seconds() == 5.0
    now[0] += 1
    assert patience.seconds() == float("inf")
