"""More styles are served than the device may hold: answers stay the same, whatever has left it in the meantime."""

from pathlib import Path

from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import publish, serving

NAMES = ("a", "b", "c")


def test_styles_take_turns_on_the_device(tmp_path: Path) -> None:
    for seed, name in enumerate(NAMES):
        publish(tmp_path, name, network(seed=seed))
    picture = file(photo(0, 16, 16))
    with serving(tmp_path, resident_bytes=1) as live:
        rounds = [[live.client.post(f"/v1/stylize/{name}", content=picture) for name in NAMES] for _ in range(2)]
        assert live.metric("pastiche_weight_loads_total", source="disk") >= 5
        assert live.metric("pastiche_resident_bytes", place="device") > 0
    assert all(answer.status_code == 200 for answers in rounds for answer in answers)
    first, second = ([(answer.content, answer.headers["ETag"]) for answer in answers] for answers in rounds)
    assert first == second
    assert len(set(first)) == len(NAMES)
