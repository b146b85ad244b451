import pytest
import torch

from model_store import SHIPPED_STORE, Golden, GoldenMismatch, ModelStore, NetworkSpec, TransformNetwork, for_inference
from model_store.golden import pattern
from tests.networks import network, own


def test_the_default_picture_is_the_same_everywhere() -> None:
    picture = pattern()
    assert torch.equal(picture, pattern())
    assert picture.dtype == torch.uint8
    assert picture.float().std(dim=(0, 1)).min() > 20  # every channel has structure


def test_accepts_rounding_and_refuses_more() -> None:
    golden = Golden.of(network())
    golden.check(golden.output + 5e-5)
    with pytest.raises(GoldenMismatch, match="largest difference"):
        golden.check(golden.output + 5e-4)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precisions_are_judged_by_psnr(precision: torch.dtype) -> None:
    golden = Golden.of(network())
    golden.check(golden.output + 0.005, precision)  # 46 dB
    with pytest.raises(GoldenMismatch, match=r"44\.\d dB"):
        golden.check(golden.output + 0.006, precision)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_faithful_output_may_nowhere_differ_by_more_than_two_levels(precision: torch.dtype) -> None:
    golden = Golden.of(network())
    spot = torch.zeros_like(golden.output)
    spot[..., 0, 0] = 1 / 255
    golden.check(golden.output + 1.9 * spot, precision, faithful=True)
    golden.check(golden.output + 9 * spot, precision)
    with pytest.raises(GoldenMismatch, match=r"largest difference is 8\.24e-03, over 8e-03 \((bf|fp)16\)"):
        golden.check(golden.output + 2.1 * spot, precision, faithful=True)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["native", "same"])
def test_fast_networks_with_thumbnail_normalisation_reproduce_it(precision: torch.dtype, form: str) -> None:
    trained = own(ModelStore(SHIPPED_STORE).load("starry-night").network)
    spec = trained.spec.model_dump() | {"norm": "thumbnail", "form": form, "thumbnail": 64}
    built = TransformNetwork(NetworkSpec.model_validate(spec))
    built.load_state_dict(trained.state_dict(), strict=False)
    golden = Golden.of(built)
    with torch.inference_mode():
        golden.check(for_inference(built, precision)(golden.batch()), precision)


def test_refuses_another_shape_and_nan() -> None:
    golden = Golden.of(network())
    with pytest.raises(GoldenMismatch, match="not"):
        golden.check(golden.output[..., 1:])
    with pytest.raises(GoldenMismatch):
        golden.check(golden.output * float("nan"))
    with pytest.raises(GoldenMismatch):
        golden.check(golden.output * float("nan"), torch.bfloat16)
