from pathlib import Path

import numpy as np
import pytest
import torch

from model_store import Golden, StoredModel, TransformNetwork, for_inference
from model_store.errors import ExportFailed
from model_store.exporters.onnx_file import onnx_bytes
from service.engine.cpu import CpuBackend
from service.engine.tiling import TiledImage, TileSizes, Tiling
from tests.model_store.exporters.exports import TINY, stored, stored_compact
from tests.networks import network, own
from tests.service.imaging.images import photo

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")

pytestmark = pytest.mark.timeout(900)  # the exporter takes a minute where the machine is busy

NETWORKS = {
    "style": network("c3s1-3,R3,c3s1-3"),
    "thumbnail": network("c3s1-3,c3s1-3", norm="thumbnail", thumbnail=64),
    "x4 with noise": network("c3s1-3,u3,c3s1-12,p2", norm="none", skip=True, noise_channels=2),
    "imported style": network(TINY, norm="instance", form="tensorflow"),
}


def served(subject: TransformNetwork, height: int, width: int) -> np.ndarray:
    """What the service makes of a photograph, in levels of 255."""
    image = photo(3, height, width)
    fast = for_inference(subject)
    tiled = TiledImage(image, Tiling(fast, TileSizes(10**9)))
    with torch.inference_mode():
        own_statistics = None
        if fast.needs_statistics:
            batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            own_statistics = fast.statistics(batch)
        (output,) = CpuBackend(1, 1).run(fast, [tiled.cut(tiled.tiles[0])], own_statistics)
    assert output is not None
    return output[: height * fast.scale, : width * fast.scale].astype(int)


@pytest.mark.parametrize("subject", NETWORKS.values(), ids=NETWORKS)
def test_onnxruntime_gives_what_the_service_gives(tmp_path: Path, subject: TransformNetwork) -> None:
    if subject.needs_statistics and torch.__version__ < "2.12":
        pytest.skip("torch 2.11 cannot trace thumbnails of any size")
    model = stored(tmp_path, subject)
    session = onnxruntime.InferenceSession(onnx_bytes(model))
    for height, width in ((61, 63), (33, 46)):
        image = photo(3, height, width).transpose(2, 0, 1)[None].astype(np.float32) / 255
        (output,) = session.run(None, {"image": image})
        levels = np.round(output[0].transpose(1, 2, 0) * 255).astype(int)
        assert np.abs(levels - served(own(model.network), height, width)).max() <= 1


def test_imported_enlarger_is_written_with_its_facts(tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    model = stored_compact(tmp_path)
    content = onnx.load_from_string(onnx_bytes(model))
    found = {entry.key: entry.value for entry in content.metadata_props}
    assert found["name"] == "compact"
    assert found["digest"] == model.manifest.digest
    assert (found["license"], found["scale"], found["author"]) == ("BSD-3-Clause", "2", "its author")
    assert "0 to 1" in found["input"]
    axes = [axis.dim_param or axis.dim_value for axis in content.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]
    assert [entry.version for entry in content.opset_import if entry.domain == ""] == [18]


def test_file_with_another_answer_than_the_stored_one_is_not_written(tmp_path: Path) -> None:
    model = stored(tmp_path, network("c3s1-4,c3s1-3"))
    wrong = StoredModel(model.manifest, model.network, Golden(model.golden.input, 1 - model.golden.output))
    with pytest.raises(ExportFailed, match="wave@1 as ONNX is not written: an answer of 1×3×61×83 differs by"):
        onnx_bytes(wrong)
