"""Which replica is asked: the same one for a model, unless it has too much to do."""

from service.http.relay.ranking import ranked

MODELS = [f"/v1/stylize/style-{number}" for number in range(1000)]


def first(key: str, names: list[str], **seconds: float) -> str:
    """The replica that is asked first; `seconds`: their queued work."""
    return ranked(names, key, str, lambda name: seconds.get(name, 0.0), 0.5)[0]


def test_models_are_spread_evenly_whatever_the_order() -> None:
    chosen = [first(model, ["a", "b", "c", "d"]) for model in MODELS]
    assert chosen == [first(model, ["d", "b", "a", "c"]) for model in MODELS]
    assert all(200 < chosen.count(name) < 300 for name in "abcd")


def test_replica_that_leaves_moves_its_own_models_alone() -> None:
    before = {model: first(model, ["a", "b", "c", "d"]) for model in MODELS}
    after = {model: first(model, ["a", "b", "c"]) for model in MODELS}
    assert {before[model] for model in MODELS if before[model] != after[model]} == {"d"}


def test_work_within_the_bound_changes_nothing() -> None:
    model = MODELS[0]
    preferred = first(model, ["a", "b"])
    assert first(model, ["a", "b"], **{preferred: 0.5}) == preferred


def test_busy_replica_spills_to_the_next_and_then_to_the_least_busy() -> None:
    model, names = MODELS[0], ["a", "b", "c"]
    one, two, three = ranked(names, model, str, lambda _: 0.0, 0.5)
    assert first(model, names, **{one: 0.6}) == two
    assert ranked(names, model, str, {one: 3.0, two: 1.0, three: 2.0}.__getitem__, 0.5) == [two, three, one]
