"""`tensorflow_files/` was written by TensorFlow 2.21: tf.compat.v1.train.Saver, once with each `write_version`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model_store.errors import StoreError, UnknownCheckpoint
from model_store.importers.checkpoint import read_checkpoint
from model_store.importers.sstable import masked_checksum
from model_store.importers.tensorflow_checkpoint import find_index, read_first_version, read_second_version
from model_store.importers.tensorflow_style import LENGSTROM, from_variables
from tests.tensorflow import Array, block, first_version, message, second_version, shape, table

FILES = Path(__file__).parent / "tensorflow_files"

ARRAYS: dict[str, Array] = {
    "Variable": np.arange(6, dtype=np.float32).reshape(2, 3),
    "Variable_1": np.zeros(4, np.float32),
    "global_step": np.array(7, np.int64),
    "rate": np.array(0.5, np.float32),
}


def written_values() -> Iterator[Array]:
    """The arrays of lengstrom's network with one and two filters, as they were given to TensorFlow."""
    convolutions = [(9, 3, 1, 1), (3, 1, 2, 2), (3, 2, 1, 1), *[(3, 1, 1, 1)] * 10]
    convolutions += [(3, 2, 1, 2), (3, 1, 2, 1), (9, 1, 3, 3)]
    shapes = [each for side, *last, filters in convolutions for each in ((side, side, *last), (filters,), (filters,))]
    for number, sides in enumerate(shapes):
        values = (np.arange(np.prod(sides)) * 7 + number) % 11 / 8 - 0.5
        yield values.astype(np.float32).reshape(sides)


@pytest.mark.parametrize("name", ["first.ckpt", "second.ckpt", "second.ckpt.index", "second.ckpt.data-00000-of-00001"])
def test_what_tensorflow_has_written_is_read(name: str) -> None:
    tensors = read_checkpoint(FILES / name).tensors
    others = {"Variable_1/Adam": np.ones(1, np.float32), "beta1_power": np.array(0.9, np.float32)}
    expected = {f"Variable_{number}" if number else "Variable": each for number, each in enumerate(written_values())}
    assert tensors.keys() == (expected | others).keys()
    for key, array in (expected | others).items():
        assert tensors[key].dtype == torch.float32
        assert tensors[key].shape == array.shape
        assert np.array_equal(tensors[key].numpy(), array)
    variables = from_variables(tensors)
    assert variables
    assert LENGSTROM.differences(variables) == []


def test_the_file_with_the_weights_is_the_origin() -> None:
    assert read_checkpoint(FILES / "first.ckpt").file == "first.ckpt"
    assert read_checkpoint(FILES / "second.ckpt").file == "second.ckpt.data-00000-of-00001"


def test_files_of_the_second_version_are_found_by_each_of_their_names(tmp_path: Path) -> None:
    for name in ("wave.ckpt.index", "wave.ckpt.meta", "first.ckpt", "first.ckpt.index", "network.pth"):
        (tmp_path / name).touch()
    index = tmp_path / "wave.ckpt.index"
    assert find_index(tmp_path / "wave.ckpt") == find_index(tmp_path / "wave.ckpt.meta") == find_index(index) == index
    assert find_index(tmp_path / "first.ckpt") is None  # which is a file by itself
    assert find_index(tmp_path / "network.pth") is None
    assert find_index(tmp_path / "absent.pth") is None


def test_both_versions_hold_float32_tensors_of_any_shape() -> None:
    expected = {name: array for name, array in ARRAYS.items() if array.dtype == np.float32}
    for tensors in (read_first_version(first_version(ARRAYS)), read_second_version(*second_version(ARRAYS))):
        assert tensors.keys() == expected.keys()
        assert all(np.array_equal(tensors[name].numpy(), array) for name, array in expected.items())


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    shutil.copy(FILES / "second.ckpt.index", tmp_path / "second.ckpt.index")
    with pytest.raises(StoreError, match=r"second\.ckpt\.data-00000-of-00001 cannot be read: No such file"):
        read_checkpoint(tmp_path / "second.ckpt")


@pytest.mark.parametrize("name", ["first.ckpt", "second.ckpt"])
@pytest.mark.parametrize("size", [0, 7, 100, 1400])
def test_files_that_end_too_early_are_refused(tmp_path: Path, name: str, size: int) -> None:
    for file in FILES.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:size])
    with pytest.raises(UnknownCheckpoint, match=name):
        read_checkpoint(tmp_path / name)


def test_a_changed_byte_is_noticed() -> None:
    whole = (FILES / "first.ckpt").read_bytes()
    for position in range(0, 6000, 97):
        damaged = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        with pytest.raises(UnknownCheckpoint):
            read_first_version(damaged)
    index, data = second_version(ARRAYS)
    with pytest.raises(UnknownCheckpoint, match="the checksum of Variable is wrong"):
        read_second_version(index, b"\1" + data[1:])


def test_what_is_no_whole_float32_tensor_is_refused() -> None:
    with pytest.raises(UnknownCheckpoint, match="its Variable is float64; float32 can be imported"):
        read_first_version(first_version({"Variable": np.zeros(3)}))
    with pytest.raises(UnknownCheckpoint, match="its Variable is float16"):
        read_second_version(*second_version({"Variable": np.zeros(3, np.float16)}))
    with pytest.raises(UnknownCheckpoint, match="its Variable is saved in parts"):
        read_first_version(first_version(ARRAYS, slices=message((1, message((1, 0), (2, 1))))))
    with pytest.raises(UnknownCheckpoint, match="its Variable has 24 bytes, which is no float32 tensor of 2×4"):
        read_first_version(first_version({"Variable": ARRAYS["Variable"]}, sides=shape([2, 4])))
    with pytest.raises(UnknownCheckpoint, match="has 24 bytes"):
        read_first_version(first_version({"Variable": ARRAYS["Variable"]}, sides=shape([2**62, 2**62])))
    with pytest.raises(UnknownCheckpoint, match="more than 8 dimensions"):
        read_first_version(first_version({"Variable": np.zeros((1,) * 9, np.float32)}))


def test_tables_that_contradict_themselves_are_refused() -> None:
    described = message((1, b"Variable"), (2, shape([1])), (3, 1))
    saved = message((2, message((1, b"Variable"), (3, message((5, bytes(4)))))))
    contents = (b"", message((1, message((1, described)))))
    with pytest.raises(UnknownCheckpoint, match="no values of Variable"):
        read_first_version(table(block([contents])))
    with pytest.raises(UnknownCheckpoint, match="Variable twice"):
        read_first_version(table(block([contents, (b"a", saved), (b"b", saved)])))
    entry = (b"Variable", message((1, 1), (2, shape([1])), (4, 0), (5, 4), (6, masked_checksum(bytes(4)))))
    with pytest.raises(UnknownCheckpoint, match="Variable lies beyond the end of its data"):
        read_second_version(table(block([(b"", message((1, 1))), entry])), bytes(3))


def test_the_two_versions_are_told_apart() -> None:
    index, data = second_version(ARRAYS)
    with pytest.raises(
        UnknownCheckpoint, match=r"one of the two files of a checkpoint; its name should end in \.index"
    ):
        read_first_version(index)
    with pytest.raises(UnknownCheckpoint, match="no index of a checkpoint in two files"):
        read_second_version(first_version(ARRAYS), data)


def test_other_files_of_the_second_version_are_refused() -> None:
    with pytest.raises(UnknownCheckpoint, match="its tensors are in 3 files; those in one can be imported"):
        read_second_version(*second_version(ARRAYS, files=3))
    with pytest.raises(UnknownCheckpoint, match="another order of bytes"):
        read_second_version(*second_version(ARRAYS, endianness=1))


def test_tensors_of_the_second_version_share_no_bytes() -> None:
    """Else a small file would become many large tensors."""
    located = ((1, 1), (2, shape([4])), (4, 0), (5, 16), (6, masked_checksum(bytes(16))))
    entries = [(name, message(*located)) for name in (b"a", b"b")]
    with pytest.raises(UnknownCheckpoint, match="tensors of it overlap"):
        read_second_version(table(block([(b"", message((1, 1))), *entries])), bytes(16))
