import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_store import Golden, StoredModel
from model_store.errors import ExportFailed
from model_store.exporters.pt2_file import pt2_bytes
from tests.model_store.exporters.exports import TINY, stored
from tests.networks import network, pictures

PROGRAM = """
import sys, torch
extra = {"pastiche/name": ""}
network = torch.export.load("wave.pt2", extra_files=extra).module()
torch.save(network(torch.load("image.pt")), "answer.pt")
assert extra["pastiche/name"] == "wave", extra
assert not any(name.startswith("model_store") for name in sys.modules)
"""


def test_torch_alone_loads_it_and_gives_the_networks_answer(tmp_path: Path) -> None:
    model = stored(tmp_path, network(TINY))
    (tmp_path / "wave.pt2").write_bytes(pt2_bytes(model))
    image = pictures(3, 35, 50)
    torch.save(image, tmp_path / "image.pt")
    subprocess.run([sys.executable, "-P", "-c", PROGRAM], cwd=tmp_path, check=True)
    with torch.no_grad():
        expected = model.network(image)
    assert (torch.load(tmp_path / "answer.pt") - expected).abs().max() < 1e-5


def test_file_with_another_answer_than_the_stored_one_is_not_written(tmp_path: Path) -> None:
    model = stored(tmp_path, network("c3s1-4,c3s1-3"))
    wrong = StoredModel(model.manifest, model.network, Golden(model.golden.input, 1 - model.golden.output))
    with pytest.raises(ExportFailed, match="wave@1 as PT2 is not written: an answer of 1×3×61×83 differs by"):
        pt2_bytes(wrong)
