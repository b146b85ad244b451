import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model_store import CorruptModel, ImportedSpec, ModelStore
from model_store.errors import MissingExtra, UnknownCheckpoint
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from tests.foreign import compact, compact_file
from tests.originals import FastNeuralStyle, Lengstrom, Rrmina, randomized
from tests.tensorflow import first_version

LABELS = Labels("tiny", "Tiny", "BSD-3-Clause", "somebody", "https://example.org/tiny")


def imported(folder: Path, name: str = "compact.pth") -> ModelStore:
    store = ModelStore(folder / "models")
    import_checkpoint(store, compact_file(folder, name), LABELS)
    return store


def test_an_enlarging_network_becomes_a_version(tmp_path: Path) -> None:
    manifest = imported(tmp_path).manifest("tiny")
    assert (manifest.label, manifest.task, manifest.scale, manifest.title) == ("tiny@1", "super-resolution", 2, "Tiny")
    assert (manifest.license, manifest.tileable, manifest.halo) == ("BSD-3-Clause", True, 4)
    assert isinstance(manifest.network, ImportedSpec)
    assert manifest.origin
    assert (manifest.origin.file, manifest.origin.layout) == ("compact.pth", "spandrel Compact")
    assert (manifest.origin.author, manifest.origin.source) == ("somebody", "https://example.org/tiny")
    assert manifest.origin.digest.startswith("sha256:")


@pytest.mark.parametrize("name", ["compact.pth", "compact.safetensors"])
def test_the_weights_are_stored_as_they_were(tmp_path: Path, name: str) -> None:
    store = imported(tmp_path, name)
    stored = load_file(store.root / "tiny/1/weights.safetensors")
    assert stored.keys() == compact().keys()
    assert all(torch.equal(stored[key], tensor) for key, tensor in compact().items())
    assert store.verify("tiny").label == "tiny@1"


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2], ids=str
)
@pytest.mark.parametrize("name", ["compact.pth", "compact.safetensors"])
def test_weights_of_any_precision_are_stored_as_they_were(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    store, weights = ModelStore(tmp_path / "models"), {key: tensor.to(dtype) for key, tensor in compact().items()}
    (save_file if name.endswith(".safetensors") else torch.save)(weights, tmp_path / name)
    import_checkpoint(store, tmp_path / name, LABELS)
    stored = load_file(store.root / "tiny/1/weights.safetensors")
    assert all(stored[key].dtype == dtype and stored[key].equal(tensor) for key, tensor in weights.items())
    assert store.verify("tiny").label == "tiny@1"


def test_the_card_says_where_it_comes_from(tmp_path: Path) -> None:
    card = imported(tmp_path).card("tiny")
    for words in ("Compact, built by spandrel", "`compact.pth` (spandrel Compact)", "somebody", "bsd-3-clause"):
        assert words in card
    assert "How it was trained" not in card
    assert "perceptual-loss" not in card


def test_a_network_that_keeps_the_size_restores(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    torch.save(compact(scale=1, channels=1), tmp_path / "deblock.pth")
    manifest = import_checkpoint(store, tmp_path / "deblock.pth", Labels("deblock"))
    assert (manifest.task, manifest.scale, manifest.tileable) == ("restoration", 1, True)
    card = store.card("deblock")
    for words in ("| task | restoration |", "the luma of the image", "its answer is grey", "restores photographs"):
        assert words in card
    assert "'localhost:8000/v1/upscale/1?model=deblock' -o restored.jpg" in card
    assert store.verify("deblock").label == "deblock@1"


NOT_FINITE = "×2, but what it makes of a test image of 83×61 are no finite numbers"
NOT_SERVED = r"its network is none that can be served: "


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ({key: tensor * torch.nan for key, tensor in compact().items()}, NOT_FINITE),
        ({key: tensor * 1e30 for key, tensor in compact().items()}, NOT_FINITE),
        (
            {key: (tensor * 100).to(torch.int8) for key, tensor in compact().items()},
            r"its body\.0\.weight is int8, where RealESRGAN Compact has floating point",
        ),
        (
            {key: tensor.to(torch.int8) for key, tensor in FastNeuralStyle().state_dict().items()},
            r"conv1\.conv2d\.weight is int8, not of floating point",
        ),
        (compact(scale=17), NOT_SERVED + "Input should be less than or equal to 16"),
        (randomized(FastNeuralStyle(widths=(4, 1025, 8))).state_dict(), NOT_SERVED + "'d1025': its filters are at"),
    ],
)
def test_a_network_that_cannot_be_served_is_refused(tmp_path: Path, weights: object, complaint: str) -> None:
    torch.save(weights, tmp_path / "odd.pth")
    with pytest.raises(UnknownCheckpoint, match=rf"odd\.pth: .*{complaint}"):
        import_checkpoint(ModelStore(tmp_path / "models"), tmp_path / "odd.pth", Labels("odd"))
    assert not (tmp_path / "models").exists()


def test_without_spandrel_it_does_not_load_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = imported(tmp_path)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert store.manifest("tiny").scale == 2
    with pytest.raises(MissingExtra, match=r"tiny@1: .* pip install 'pastiche\[import\]'"):
        store.load("tiny")
    with pytest.raises(MissingExtra, match=r"compact\.pth: no style network is in it; .* pip install"):
        import_checkpoint(store, tmp_path / "compact.pth", LABELS)


@pytest.mark.parametrize(("field", "value"), [("scale", 4), ("architecture", "ESRGAN"), ("parameters", 7)])
def test_a_manifest_that_its_weights_contradict_is_refused(tmp_path: Path, field: str, value: object) -> None:
    store = imported(tmp_path)
    path = store.root / "tiny/1/manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["network"][field] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorruptModel, match="tiny@1"):
        store.load("tiny")


def test_a_style_network_becomes_one_of_ours_in_fp32(tmp_path: Path) -> None:
    original = randomized(FastNeuralStyle())
    torch.save(original.state_dict(), tmp_path / "mosaic.pth")
    store = ModelStore(tmp_path / "models")
    manifest = import_checkpoint(store, tmp_path / "mosaic.pth", Labels("mosaic"))
    assert (manifest.task, manifest.scale, manifest.tileable, manifest.license) == ("style", 1, False, "")
    assert manifest.origin
    assert manifest.origin.layout == "pytorch/examples fast_neural_style"
    assert manifest.origin.assumptions["pixels"] == "RGB, 0 to 255"
    assert "RGB, 0 to 255" in store.card("mosaic")
    image = torch.rand(1, 3, 40, 28)
    with torch.inference_mode():
        expected = (original(image * 255) / 255).clamp(0, 1)
        assert (store.load("mosaic").network(image) - expected).abs().max() < 2e-5


def test_an_output_that_the_layout_does_not_have_is_refused(tmp_path: Path) -> None:
    torch.save(FastNeuralStyle().state_dict(), tmp_path / "mosaic.pth")
    with pytest.raises(UnknownCheckpoint, match="no network of --output tanh, but of --output linear"):
        import_checkpoint(ModelStore(tmp_path / "models"), tmp_path / "mosaic.pth", Labels("mosaic", output="tanh"))


def test_an_output_of_a_network_that_enlarges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownCheckpoint, match=r"compact\.pth: --output is of style networks; it is spandrel Compact"):
        import_checkpoint(ModelStore(tmp_path / "models"), compact_file(tmp_path), replace(LABELS, output="tanh"))


def test_variants_that_have_the_same_keys_are_told_apart_by_an_option(tmp_path: Path) -> None:
    torch.save(randomized(Rrmina(tanh=True)).state_dict(), tmp_path / "mosaic.pth")
    store = ModelStore(tmp_path / "models")
    with pytest.raises(UnknownCheckpoint, match=r"what ends the network: --output linear .* or --output tanh"):
        import_checkpoint(store, tmp_path / "mosaic.pth", Labels("mosaic"))
    manifest = import_checkpoint(store, tmp_path / "mosaic.pth", Labels("mosaic", output="tanh"))
    assert manifest.origin
    assert manifest.origin.layout == "rrmina/fast-neural-style-pytorch, tanh"


def test_tensorflow_variables_are_understood(tmp_path: Path) -> None:
    variables = {f"Variable_{number}": each.numpy() for number, each in enumerate(Lengstrom().arrays)}
    np.savez(tmp_path / "wave.npz", allow_pickle=False, **variables)
    manifest = import_checkpoint(ModelStore(tmp_path / "models"), tmp_path / "wave.npz", Labels("wave"))
    assert manifest.origin
    assert manifest.origin.layout == "lengstrom/fast-style-transfer"


@pytest.mark.parametrize("name", ["first.ckpt", "second.ckpt"])
def test_checkpoints_of_tensorflow_are_imported_as_they_are(tmp_path: Path, name: str) -> None:
    file = Path(__file__).parent / "tensorflow_files" / name
    manifest = import_checkpoint(ModelStore(tmp_path / "models"), file, Labels("wave"))
    assert manifest.origin
    assert manifest.origin.layout == "lengstrom/fast-style-transfer"


def test_another_network_of_tensorflow_is_told_the_nearest_layout(tmp_path: Path) -> None:
    (tmp_path / "odd.ckpt").write_bytes(first_version({"layer/kernel": np.zeros((3, 3), np.float32)}))
    with pytest.raises(UnknownCheckpoint, match=r"odd\.ckpt: of the layouts of style networks, .* is the nearest"):
        import_checkpoint(ModelStore(tmp_path / "models"), tmp_path / "odd.ckpt", LABELS)


def test_an_unknown_file_is_refused_with_the_nearest_layout(tmp_path: Path) -> None:
    save_file({"layer.weight": torch.ones(3, 3)}, tmp_path / "odd.safetensors")
    with pytest.raises(UnknownCheckpoint, match=r"odd\.safetensors: of the .* nearest, but .* spandrel knows no"):
        import_checkpoint(ModelStore(tmp_path / "models"), tmp_path / "odd.safetensors", LABELS)
    assert not (tmp_path / "models").exists()
