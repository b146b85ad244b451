import pytest

from service.engine.inference_spec import InferenceSpec
from tests.service.pointwise import model


def test_work_is_that_of_all_tiles() -> None:
    spec = InferenceSpec(model(tile=100, fixed=0.5, per_pixel=0.005), 20, 30)
    assert (len(spec.tiles), spec.plane_pixels) == (6, 600)
    assert spec.work_seconds == pytest.approx(6.0)


def test_larger_of_result_and_answer_counts() -> None:
    assert InferenceSpec(model(scale=2), 20, 30).output_pixels == 2400
    assert InferenceSpec(model(scale=2), 20, 30, answer_pixels=9000).output_pixels == 9000
    assert InferenceSpec(model(scale=2), 20, 30, answer_pixels=600).output_pixels == 2400
