import hashlib
import json
import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_store import CorruptModel, Draft, ModelStore, StoreError, UnknownModel
from tests.networks import network


def draft(name: str = "wave") -> Draft:
    return Draft(name=name, task="style", title="The Great Wave")


def published(root: Path, *names: str) -> ModelStore:
    store = ModelStore(root)
    for i, name in enumerate(names):
        store.publish(network("c3s1-4,R4,c3s1-3", seed=i), draft(name))
    return store


def test_an_absent_store_is_empty(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "none")
    assert store.names() == []
    assert store.versions("wave") == []


def test_what_is_published_can_be_loaded(tmp_path: Path) -> None:
    original = network()
    store = ModelStore(tmp_path)
    manifest = store.publish(original, draft(), preview=b"png")
    model = store.load("wave")
    image = torch.rand(1, 3, 33, 40)
    with torch.inference_mode():
        assert (model.network(image) - original(image)).abs().max() < 5e-3  # convolutions are stored in fp16
    assert model.manifest == manifest == store.manifest("wave", 1)
    assert (manifest.label, manifest.scale, manifest.halo, manifest.tileable) == ("wave@1", 1, 55, True)
    assert manifest.parameters == sum(parameter.numel() for parameter in original.parameters())
    preview = store.preview("wave")
    assert preview is not None
    assert preview.read_bytes() == b"png"


def test_normalisation_is_stored_exactly(tmp_path: Path) -> None:
    original = network()
    store = ModelStore(tmp_path)
    store.publish(original, draft())
    stored = load_file(tmp_path / "wave/1/weights.safetensors")
    for key, value in original.state_dict().items():
        exact = "norm" in key
        assert stored[key].dtype == (value.dtype if exact else torch.float16)
        assert torch.equal(stored[key], value if exact else value.half())


def test_the_golden_output_comes_from_the_stored_weights(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    picture = torch.randint(0, 256, (20, 30, 3), dtype=torch.uint8)
    store.publish(network(), draft(), picture=picture)
    model = store.load("wave")
    assert torch.equal(model.golden.input, picture)
    with torch.inference_mode():
        assert torch.equal(model.network(model.golden.batch()), model.golden.output)


def test_versions_count_up_and_the_newest_is_current(tmp_path: Path) -> None:
    store = published(tmp_path, "wave", "wave", "night", "wave")
    assert store.names() == ["night", "wave"]
    assert store.versions("wave") == [1, 2, 3]
    assert store.current("wave") == 3


def test_rollback_and_promote_move_only_the_pointer(tmp_path: Path) -> None:
    store = published(tmp_path, "wave", "wave")
    assert store.rollback("wave") == 1
    assert store.current("wave") == 1
    assert store.versions("wave") == [1, 2]
    store.promote("wave", 2)
    assert store.load("wave").manifest.version == 2
    store.rollback("wave")
    with pytest.raises(UnknownModel, match="oldest version"):
        store.rollback("wave")


def test_a_publication_after_a_rollback_gets_a_new_number(tmp_path: Path) -> None:
    store = published(tmp_path, "wave", "wave")
    store.rollback("wave")
    assert store.publish(network(), draft()).version == 3
    assert store.current("wave") == 3


def test_unknown_models_and_versions_are_named(tmp_path: Path) -> None:
    store = published(tmp_path, "wave")
    with pytest.raises(UnknownModel, match=r"no model 'nigth'.*there are: wave"):
        store.load("nigth")
    with pytest.raises(UnknownModel, match=r"no version 7 of 'wave'; there are: \[1\]"):
        store.load("wave", 7)


@pytest.mark.parametrize("name", ["..", "a/b", "", "A", ".hidden"])
def test_names_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownModel):
        published(tmp_path / "store", "wave").load(name)


@pytest.mark.parametrize("file", ["weights.safetensors", "golden.safetensors"])
def test_changed_files_are_refused(tmp_path: Path, file: str) -> None:
    store = published(tmp_path, "wave")
    path = tmp_path / "wave/1" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptModel, match=f"wave@1: {file} is sha256:"):
        store.load("wave")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    store = published(tmp_path, "wave")
    (tmp_path / "wave/1/weights.safetensors").unlink()
    with pytest.raises(CorruptModel, match=r"wave@1: unreadable weights\.safetensors: No such file") as error:
        store.load("wave")
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("change", ["missing", "additional"])
def test_weights_must_fit_the_architecture(tmp_path: Path, change: str) -> None:
    store = published(tmp_path, "wave")
    folder = tmp_path / "wave/1"
    tensors = load_file(folder / "weights.safetensors")
    if change == "missing":
        del tensors["layers.0.conv.weight"]
    else:
        tensors["layers.9.conv.weight"] = torch.zeros(1)
    save_file(tensors, folder / "weights.safetensors")
    _sign(folder)
    with pytest.raises(CorruptModel, match="wave@1: weights do not fit"):
        store.load("wave")


def test_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    store = published(tmp_path, "wave")
    (tmp_path / "wave/1/manifest.json").write_text("{}")
    with pytest.raises(CorruptModel, match=r"wave@1: unreadable manifest\.json"):
        store.load("wave")


def test_a_manifest_in_the_wrong_folder_is_refused(tmp_path: Path) -> None:
    store = published(tmp_path, "wave")
    (tmp_path / "wave").rename(tmp_path / "night")
    with pytest.raises(CorruptModel, match=r"night@1: manifest\.json describes wave@1"):
        store.load("night")


def test_a_pointer_to_nowhere_is_refused(tmp_path: Path) -> None:
    store = published(tmp_path, "wave")
    (tmp_path / "wave/current").write_text("5\n")
    with pytest.raises(CorruptModel, match="current says '5'"):
        store.load("wave")


def test_verify_recomputes_the_golden_output(tmp_path: Path) -> None:
    store = published(tmp_path, "wave")
    assert store.verify("wave").label == "wave@1"
    folder = tmp_path / "wave/1"
    golden = load_file(folder / "golden.safetensors")
    save_file(golden | {"output": golden["output"] + 0.001}, folder / "golden.safetensors")
    _sign(folder)
    with pytest.raises(StoreError, match=r"largest difference is 1\.0"):
        store.verify("wave")


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    store = published(tmp_path, "wave")
    (tmp_path / "wave/2").write_text("in the way")
    with pytest.raises(OSError, match="wave"):
        store.publish(network(), draft())
    assert store.versions("wave") == [1]
    assert sorted(entry.name for entry in (tmp_path / "wave").iterdir()) == ["1", "2", "current"]


def _publish_forever(root: Path) -> None:
    store = ModelStore(root)
    while True:
        store.publish(network("c3s1-4,R4,c3s1-3"), draft())


def test_a_killed_publisher_leaves_only_whole_versions(tmp_path: Path) -> None:
    publisher = multiprocessing.get_context("spawn").Process(target=_publish_forever, args=(tmp_path,))
    publisher.start()
    store = ModelStore(tmp_path)
    while len(store.versions("wave")) < 5:
        for name in store.names():
            store.verify(name)
    publisher.kill()
    publisher.join()
    for version in store.versions("wave"):
        assert store.verify("wave", version).version == version


def _sign(folder: Path) -> None:
    """Give the manifest the digests that the files now have."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for key, file in (("digest", "weights"), ("golden_digest", "golden")):
        content = (folder / f"{file}.safetensors").read_bytes()
        manifest[key] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (folder / "manifest.json").write_text(json.dumps(manifest))
