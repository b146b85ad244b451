from pathlib import Path

import pytest
import torch

from model_store import Draft, Location, ModelStore, open_store
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from tests.foreign import compact_file
from tests.networks import network
from trainer.errors import TrainerError
from trainer.weight_average import averaged, parse_shares, stored_weights

ARCHITECTURE = "c3s1-4,R4,c3s1-3"


def filled(root: Path, versions: int = 2) -> ModelStore:
    store = ModelStore(root)
    for seed in range(versions):
        store.publish(network(ARCHITECTURE, seed=seed), Draft(name="wave", task="style"))
    return store


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("wave", {"wave": 1.0}),
        ("wave@2:7", {"wave@2": 1.0}),
        ("wave@2,wave@3", {"wave@2": 0.5, "wave@3": 0.5}),
        ("wave@2:3, wave@3:1", {"wave@2": 0.75, "wave@3": 0.25}),
        ("a:0.5,b,c:0.5", {"a": 0.25, "b": 0.5, "c": 0.25}),
    ],
)
def test_shares_sum_to_one(text: str, shares: dict[str, float]) -> None:
    assert parse_shares(text) == shares


@pytest.mark.parametrize("text", ["wave,", ",", "a:0", "a:-1,b:2", "a:nan", "a:inf", "a:x", ":1", "a,a", "a:1,a:2"])
def test_what_is_no_average_is_refused(text: str) -> None:
    with pytest.raises(TrainerError, match="is not understood; it is NAME or NAME@VERSION, or several"):
        parse_shares(text)


def test_average_is_that_of_the_weights() -> None:
    one = {"weight": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    other = {"weight": torch.tensor([3.0, 10.0]), "count": torch.tensor(9)}
    found = averaged([one, other], [0.75, 0.25])
    assert found["weight"].tolist() == [1.5, 4.0]
    assert found["weight"].dtype == torch.float32
    assert found["count"] == 3


def test_stored_networks_are_averaged(tmp_path: Path) -> None:
    store = filled(tmp_path)
    loaded = [store.load("wave", version).network.state_dict() for version in (1, 2)]
    found = stored_weights(tmp_path, "wave@1:3,wave@2:1")
    assert found.label == "wave@1:0.75,wave@2:0.25"
    assert found.spec == store.load("wave", 1).network.spec
    assert found.values.keys() == loaded[0].keys()
    for name, value in found.values.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * loaded[0][name] + 0.25 * loaded[1][name])


def test_one_network_is_itself(tmp_path: Path) -> None:
    store = filled(tmp_path)
    found = stored_weights(tmp_path, "wave")
    assert found.label == "wave@2"
    assert all(
        torch.equal(value, found.values[name]) for name, value in store.load("wave").network.state_dict().items()
    )


@pytest.mark.parametrize("text", ["wave@1:1,wave@2:3", "wave@2:3,wave@1:1"])
def test_a_network_without_noise_counts_as_one_that_ignores_it(tmp_path: Path, text: str) -> None:
    store = filled(tmp_path, 1)
    store.publish(network(ARCHITECTURE, seed=1, noise_channels=2), Draft(name="wave", task="style"))
    plain, noisy = (store.load("wave", version).network.state_dict() for version in (1, 2))
    found = stored_weights(tmp_path, text)
    assert found.spec == store.load("wave", 2).network.spec
    first = "layers.0.conv.weight"
    colours, noise = found.values[first].split([3, 2], dim=1)
    torch.testing.assert_close(colours, 0.25 * plain[first] + 0.75 * noisy[first][:, :3])
    torch.testing.assert_close(noise, 0.75 * noisy[first][:, 3:])
    last = "layers.2.conv.weight"
    torch.testing.assert_close(found.values[last], 0.25 * plain[last] + 0.75 * noisy[last])


def test_networks_that_differ_have_no_average(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    store.publish(network("c3s1-4,R4*2,c3s1-3"), Draft(name="deeper", task="style"))
    with pytest.raises(TrainerError, match="deeper@1 differs from wave@1 in more than its weights: no average"):
        stored_weights(tmp_path, "wave,deeper")


def test_imported_networks_are_not_averaged(tmp_path: Path) -> None:
    root: Location = tmp_path
    filled(tmp_path, 1)
    import_checkpoint(open_store(root), compact_file(tmp_path), Labels("tiny"))
    with pytest.raises(TrainerError, match="--warm-start tiny@1 is an imported Compact, not one of ours"):
        stored_weights(root, "wave,tiny")
