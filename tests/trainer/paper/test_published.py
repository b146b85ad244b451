import pytest

from trainer.paper.published import SET5_BICUBIC, SPEED, SPEEDUP, SUPER_RESOLUTION


@pytest.mark.parametrize("side", SPEED)
def test_seconds_are_in_proportion_to_the_iterations(side: int) -> None:
    seconds = SPEED[side]
    for count in (300, 500):
        assert seconds[count] / seconds[100] == pytest.approx(count / 100, rel=0.005)


@pytest.mark.parametrize("side", SPEED)
def test_speedups_are_those_of_the_seconds_within_their_rounding(side: int) -> None:
    shortest, longest = SPEED[side][1] - 0.005, SPEED[side][1] + 0.005
    assert SPEED[side].keys() - {1} == SPEEDUP[side].keys()
    for count, times in SPEEDUP[side].items():
        assert SPEED[side][count] / longest < times < SPEED[side][count] / shortest


@pytest.mark.parametrize("scale", SUPER_RESOLUTION)
def test_every_method_has_plausible_scores_on_every_set(scale: int) -> None:
    for sets in SUPER_RESOLUTION[scale].values():
        assert sets.keys() == {"Set5", "Set14", "BSD100"}
        assert all(20 < psnr < 32 and 0.5 < ssim < 0.9 for psnr, ssim in sets.values())


def test_the_papers_bicubic_is_that_of_the_protocol_but_for_rounding() -> None:
    published = SUPER_RESOLUTION[4]["bicubic"]["Set5"]
    assert published == pytest.approx(SET5_BICUBIC["Set5"], abs=2e-4)
