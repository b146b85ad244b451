from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from model_store import LayerForm, ModelStore, TransformNetwork, for_inference
from service.engine.loaded_model import LoadedModel
from service.engine.openvino_network import OpenVinoNetwork
from service.engine.priority import Priority
from service.engine.tiling import TileSizes
from service.imaging.codecs import ImageFormat, OutputSpec
from service.models.served_model import ServedModel
from service.pipeline.fingerprint import build_fingerprint, canonical, request_fingerprint
from service.pipeline.resolve import ResolvedRequest, Timeout
from service.pipeline.stylize import Stylize, StylizeOptions
from tests.networks import network
from tests.service.live import publish, serving

SIZES = TileSizes(2**20)
MADE = build_fingerprint(torch.device("cpu"), SIZES)


def served(root: Path) -> ServedModel:
    with serving(root) as live:
        return live.service.models.style("wave")


def by_openvino(model: ServedModel) -> ServedModel:
    """The same model, computed by another engine."""
    default = model.loaded.default
    assert isinstance(default.network, TransformNetwork)
    network = OpenVinoNetwork(default.network, None, None, 1)
    return replace(model, loaded=LoadedModel(replace(default, network=network), model.loaded.fp32))


def in_another_form(model: ServedModel) -> ServedModel:
    """The same model, whose first layer is computed in another form."""
    stored = ModelStore(model.source.root).load(model.name).network
    other = for_inference(stored, forms={0: LayerForm.BLOCKED_4})
    return replace(model, loaded=LoadedModel(replace(model.loaded.default, network=other), model.loaded.fp32))


def in_another_precision(model: ServedModel) -> ServedModel:
    stored = ModelStore(model.source.root).load(model.name).network
    other = for_inference(stored, torch.bfloat16)
    return replace(model, loaded=LoadedModel(replace(model.loaded.default, network=other), model.loaded.fp32))


def in_other_batches_of_16_bits(model: ServedModel) -> ServedModel:
    """The same model, whose batches in fp32 alone were measured to be best at another size."""
    fp32 = model.loaded.fp32
    other = replace(fp32, tiling=fp32.tiling.with_batches({(8, 8): 3}))
    return replace(model, loaded=LoadedModel(model.loaded.default, other))


def test_key_is_of_all_that_decides_on_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path)
    model = served(tmp_path)
    request = ResolvedRequest(Stylize(((model, 1.0),)), Timeout(60), OutputSpec((ImageFormat.PNG,), 90))
    same = replace(request, timeout=Timeout(5, 1, Priority.BULK))
    assert request_fingerprint(request, b"image", MADE) == request_fingerprint(same, b"image", MADE)

    publish(tmp_path, built=network(seed=1))
    in_form = replace(request, operation=Stylize(((in_another_form(model), 1.0),)))
    reduced = in_another_precision(model)
    others = [
        (in_form, b"image", MADE),
        (request, b"other", MADE),
        (request, b"image", build_fingerprint(torch.device("cpu"), TileSizes(2**19))),
        (replace(request, operation=Stylize(((by_openvino(model), 1.0),))), b"image", MADE),
        (replace(request, operation=Stylize(((reduced, 1.0),))), b"image", MADE),
        (replace(request, operation=Stylize(((in_other_batches_of_16_bits(model), 1.0),))), b"image", MADE),
        (replace(request, output=OutputSpec((ImageFormat.PNG,), 91)), b"image", MADE),
        (replace(request, output=OutputSpec((ImageFormat.WEBP,), 90)), b"image", MADE),
        (replace(request, operation=Stylize(((served(tmp_path), 1.0),))), b"image", MADE),
        (replace(request, operation=Stylize(((model, 1.0),), StylizeOptions(strength=0.5))), b"image", MADE),
        (replace(request, mask=b"mask"), b"image", MADE),
    ]
    assert ModelStore(tmp_path).current("wave") == 2
    assert len({request_fingerprint(*other) for other in [*others, (request, b"image", MADE)]}) == 12


def test_options_that_are_added_count_by_themselves() -> None:
    @dataclass(frozen=True)
    class Mixed:
        weights: tuple[float, ...]
        mask: bytes | None = None

    assert canonical(Mixed((0.7, 0.3))) == canonical(Mixed((0.7, 0.3)))
    assert canonical(Mixed((0.7, 0.3))) != canonical(Mixed((0.3, 0.7)))
    assert canonical(Mixed((1.0,), b"")) != canonical(Mixed((1.0,)))
    with pytest.raises(TypeError, match="object"):
        canonical(object())
