import hashlib
import io
import os
import threading
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from model_store.errors import StoreError, UnknownCheckpoint
from model_store.importers.archive import require_state_dict
from model_store.importers.checkpoint import read_checkpoint

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.zeros(2)}


class Hostile:
    """Whoever unpickles it runs its code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


def assert_read(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    assert checkpoint.tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(tensor, WEIGHTS[key]) for key, tensor in checkpoint.tensors.items())
    assert checkpoint.file == path.name
    assert checkpoint.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_safetensors_and_arrays_are_read(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "network.safetensors")
    assert_read(tmp_path / "network.safetensors")
    np.savez(tmp_path / "network.npz", allow_pickle=False, **{key: each.numpy() for key, each in WEIGHTS.items()})
    assert_read(tmp_path / "network.npz")


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"params_ema": WEIGHTS, "params": {"conv.weight": torch.ones(1)}},
        {"state_dict": WEIGHTS, "iteration": 5, "commit": "abc"},
        {"anything": WEIGHTS},
        {f"module.{key}": tensor for key, tensor in WEIGHTS.items()},
        {"net": {f"netG.{key}": tensor for key, tensor in WEIGHTS.items()}},
        {"saved_model": WEIGHTS, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}},
        {"params_ema": {}, "params": WEIGHTS},
        {f"_orig_mod.{key}": tensor for key, tensor in WEIGHTS.items()},
        {"model": {f"module._orig_mod.{key}": tensor for key, tensor in WEIGHTS.items()}},
        WEIGHTS | {"epoch": 3},
    ],
)
def test_state_dicts_are_found_wherever_trainers_put_them(tmp_path: Path, content: object, legacy: bool) -> None:
    torch.save(content, tmp_path / "network.pth", _use_new_zipfile_serialization=not legacy)
    assert_read(tmp_path / "network.pth")


def test_a_name_of_any_bytes_is_one_that_a_manifest_can_have(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.pth")
    torch.save(WEIGHTS, path)
    assert read_checkpoint(path).file == "caf\N{REPLACEMENT CHARACTER}.pth"


def test_a_name_that_tensorflow_uses_may_be_one_of_pytorch(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "network.ckpt")
    assert_read(tmp_path / "network.ckpt")


def test_several_networks_in_a_file_are_named(tmp_path: Path) -> None:
    torch.save({"generator": WEIGHTS, "critic": WEIGHTS, "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(UnknownCheckpoint, match="it holds several networks: generator, critic; save one"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a", "a.SAFETENSORS", "a.pth", "a.npz"])
def test_safetensors_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    save_file(WEIGHTS, tmp_path / name, {"said": "so"})
    assert_read(tmp_path / name)
    assert read_checkpoint(tmp_path / name).header == {"said": "so"}


@pytest.mark.parametrize("name", ["a.PTH", "a.safetensors", "a"])
def test_files_of_torch_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    torch.save(WEIGHTS, tmp_path / name)
    assert_read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pth", "a.npz"])
def test_an_interrupted_download_is_called_one(tmp_path: Path, name: str) -> None:
    torch.save(WEIGHTS, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(UnknownCheckpoint, match=rf"{name} is refused: its end is missing"):
            read_checkpoint(tmp_path / name)


def test_what_comes_through_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    content = save(WEIGHTS)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    assert read_checkpoint(pipe).digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    writer.join()


def test_what_has_no_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_store.importers.checkpoint.MOST_BYTES", 2**20)
    with pytest.raises(UnknownCheckpoint, match="zero is refused: it has more than 1,048,576 bytes"):
        read_checkpoint(Path("/dev/zero"))


HUGE = torch.zeros(1).expand(10**9, 1000)


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (torch.eye(3).to_sparse(), "its conv.bias is sparse_coo; plain tensors of real numbers can"),
        (torch.zeros(3, device="meta"), "its conv.bias has a shape, and no values"),
        (torch.zeros(3, dtype=torch.complex64), "its conv.bias is complex64"),
        (HUGE, r"its conv.bias says that it is \(1000000000, 1000\), which is more than is in the file"),
    ],
)
def test_what_is_no_plain_tensor_is_refused(tmp_path: Path, tensor: torch.Tensor, complaint: str) -> None:
    torch.save(WEIGHTS | {"conv.bias": tensor}, tmp_path / "a.pth")
    with pytest.raises(UnknownCheckpoint, match=r"a\.pth is refused: " + complaint):
        read_checkpoint(tmp_path / "a.pth")


def test_weights_that_share_memory_are_read(tmp_path: Path) -> None:
    shared = torch.arange(60.0).reshape(6, 10)
    torch.save({"a": shared.T, "b": shared[:, ::2], "c": shared}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").tensors["b"].equal(shared[:, ::2])


ZEROS = torch.zeros(2**24 + 1)  # a value more than any file may unpack to


def compressed(content: object, path: Path) -> None:
    """What torch.save writes, packed by whoever wants a small file to be a large network."""
    plain = io.BytesIO()
    torch.save(content, plain)
    with ZipFile(plain) as source, ZipFile(path, "w", ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))


def test_weights_that_were_compressed_are_read(tmp_path: Path) -> None:
    compressed(WEIGHTS, tmp_path / "network.pth")
    assert_read(tmp_path / "network.pth")
    arrays = {key: each.numpy() for key, each in WEIGHTS.items()}
    np.savez_compressed(tmp_path / "network.npz", allow_pickle=False, **arrays)
    assert_read(tmp_path / "network.npz")


@pytest.mark.parametrize("name", ["a.pth", "a.npz"])
def test_archives_that_unpack_to_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unpack(*_: object, **__: object) -> None:
        raise AssertionError("it was unpacked")

    if name == "a.npz":
        np.savez_compressed(tmp_path / name, weight=ZEROS.numpy())
    else:
        compressed({"weight": ZEROS}, tmp_path / name)
    monkeypatch.setattr(torch, "load", unpack)
    monkeypatch.setattr(np, "load", unpack)
    with pytest.raises(
        UnknownCheckpoint, match=r"it unpacks to 67,\d{3},\d{3} bytes; a file of [\d,]+ may unpack to 67,108"
    ):
        read_checkpoint(tmp_path / name)


def test_weights_that_share_too_much_memory_are_refused(tmp_path: Path) -> None:
    shared = torch.zeros(2**18)
    torch.save({str(number): shared for number in range(65)}, tmp_path / "a.pth")
    with pytest.raises(UnknownCheckpoint, match="it unpacks to 68,157,440 bytes"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("legacy", [True, False])
def test_nothing_but_tensors_is_unpickled(tmp_path: Path, legacy: bool) -> None:
    torch.save({"params": WEIGHTS, "extra": Hostile()}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UnknownCheckpoint, match=r"a\.pth is not read: it holds Python objects beside its tensors"):
        read_checkpoint(tmp_path / "a.pth")


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", weights=np.array([Hostile()], dtype=object))
    with pytest.raises(UnknownCheckpoint, match="cannot be read"):
        read_checkpoint(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.npz", "a.t7", "a.ckpt"])
@pytest.mark.parametrize("content", [b"", b"no network at all, but some text that goes on for a while"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnknownCheckpoint, match="a"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("content", [b"x\n", b"\xff\xd8\xff\xe0" + bytes(64), b"some text\n" * 9, b"GIF89a" + bytes(9)])
def test_a_file_that_is_no_pickle_is_not_said_to_hold_objects(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnknownCheckpoint, match=r"a\.jpg cannot be read as safetensors, PyTorch's \.pth and \.pt"):
        read_checkpoint(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.npz", "a.t7", "a.png"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UnknownCheckpoint, match=rf"{name} is refused: it is empty"):
        read_checkpoint(tmp_path / name)


def test_files_without_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(UnknownCheckpoint, match=r"a\.pth holds no tensors; a checkpoint is wanted: safetensors"):
        read_checkpoint(tmp_path / "a.pth")


def test_missing_files_are_told_from_unknown_ones(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent\.pth cannot be read: No such file"):
        read_checkpoint(tmp_path / "absent.pth")
    for folder in (tmp_path, Path(), Path("/")):
        with pytest.raises(StoreError, match=rf"{folder} cannot be read: Is a directory"):
            read_checkpoint(folder)


def test_text_and_programs_are_refused_in_words_of_ours(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("hello")
    with pytest.raises(UnknownCheckpoint, match=r"page\.pth cannot be read as safetensors, .*\.npz$"):
        read_checkpoint(tmp_path / "page.pth")
    torch.save(WEIGHTS, tmp_path / "network.pt")
    require_state_dict((tmp_path / "network.pt").read_bytes())
    for file in ("constants.pkl", "models/model.json"):  # of TorchScript, of PT2
        with ZipFile(tmp_path / "program.pt", "w") as archive:
            archive.writestr(f"program/{file}", b"\x80\x02).")
        with pytest.raises(UnknownCheckpoint, match="it is no state dict, but another archive, such as a program"):
            read_checkpoint(tmp_path / "program.pt")
