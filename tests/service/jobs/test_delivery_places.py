from service.jobs.delivery_places import PLACES_OF_A_HOST, PLACES_OF_AN_OWNER, DeliveryPlaces
from service.jobs.record import JobRecord
from tests.service.jobs.stores import owned


def asked(owner: str, host: str) -> JobRecord:
    return owned("one", owner, f"https://{host}/path")


def test_host_has_some_of_the_places_until_it_frees_one() -> None:
    places = DeliveryPlaces()
    for number in range(PLACES_OF_A_HOST):
        assert not places.full.concern(asked("other", "slow.example"))
        places.take(asked(str(number), "slow.example"))
    assert places.full.concern(asked("other", "SLOW.example:8443"))
    assert not places.full.concern(asked("0", "other.example"))
    places.free(asked("0", "slow.example"))
    assert not places.full.concern(asked("other", "slow.example"))


def test_owner_has_some_of_the_places_however_many_hosts_there_are() -> None:
    places = DeliveryPlaces()
    for number in range(PLACES_OF_AN_OWNER):
        assert not places.full.concern(asked("a", "new.example"))
        places.take(asked("a", f"{number}.example"))
    assert places.full.concern(asked("a", "new.example"))
    assert not places.full.concern(asked("b", "new.example"))
