import struct
from contextlib import suppress

import numpy as np
import pytest
import torch

from model_store.errors import UnknownCheckpoint
from model_store.importers.torch7 import Torch7Object, read_torch7
from tests.torch7 import Layer, torch7


def test_values_are_read_back() -> None:
    table = {"name": "wave", "steps": 40000, "rate": 0.5, "done": True, "none": None, 1: {2: "nested"}}
    assert read_torch7(torch7(table)) == table


def test_tensors_and_layers_are_read_back() -> None:
    weight = torch.arange(24.0).reshape(2, 3, 4)
    found = read_torch7(torch7(Layer("nn.SpatialConvolution", {"weight": weight, "kW": 3})))
    assert isinstance(found, Torch7Object)
    assert (found.kind, found.fields["kW"]) == ("nn.SpatialConvolution", 3)
    assert torch.equal(found.fields["weight"], weight)
    assert read_torch7(torch7(Layer("cudnn.ReLU", {}))).kind == "nn.ReLU"


def test_what_is_mentioned_twice_is_one_object() -> None:
    shared = {"a": torch.ones(2)}
    found = read_torch7(torch7({"one": shared, "two": shared}))
    assert found["one"] is found["two"]


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_functions_are_refused(kind: int) -> None:
    with pytest.raises(UnknownCheckpoint, match="which is code"):
        read_torch7(struct.pack("<iii", kind, 1, 0))


def test_objects_of_other_classes_are_refused() -> None:
    with pytest.raises(UnknownCheckpoint, match=r"'tds\.Hash', which is neither a tensor nor a layer"):
        read_torch7(torch7(Layer("tds.Hash", {})))


def test_a_tensor_outside_of_its_storage_is_refused() -> None:
    content = torch7(torch.ones(7))
    sizes = content.replace(struct.pack("<q", 7), struct.pack("<q", 9), 1)
    with pytest.raises(UnknownCheckpoint, match="outside of its storage"):
        read_torch7(sizes)


def test_every_shorter_file_ends_too_early() -> None:
    content = torch7({"a": 1, "b": torch.ones(3), "c": Layer("nn.ReLU", {"inplace": True})})
    for length in range(len(content)):
        with pytest.raises(UnknownCheckpoint, match="ends too early"):
            read_torch7(content[:length])


def test_objects_that_lie_too_deep_are_refused() -> None:
    nested: dict[str, object] = {}
    for _ in range(200):
        nested = {"in": nested}
    with pytest.raises(UnknownCheckpoint, match="more than 100 deep"):
        read_torch7(torch7(nested))


@pytest.mark.parametrize("fields", [None, True, 3])
def test_layers_without_fields_are_refused(fields: object) -> None:
    with pytest.raises(UnknownCheckpoint, match=r"nn\.ReLU has no table of fields"):
        read_torch7(torch7(Layer("nn.ReLU", fields)))  # type: ignore[arg-type]


def test_damaged_files_are_refused_or_read_as_something_else() -> None:
    content = torch7({"model": Layer("nn.Linear", {"weight": torch.ones(2, 3), "bias": torch.ones(2), "train": False})})
    random = np.random.default_rng(0)
    for _ in range(3000):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[random.integers(len(damaged), size=3)] = random.choice([0, 1, 2, 3, 4, 5, 255], size=3)
        with suppress(UnknownCheckpoint):
            read_torch7(damaged.tobytes())
