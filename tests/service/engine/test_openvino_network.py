import subprocess
import sys

import numpy as np
import pytest
import torch

from model_store import TransformNetwork, for_inference
from service.engine.cpu import CpuBackend
from service.engine.openvino_network import OpenVinoCompiler, OpenVinoNetwork, is_installed
from service.engine.tiling import ImageTile, TiledImage, TileSizes, Tiling
from service.imaging.codecs import Pixels
from tests.networks import network
from tests.service.imaging.images import photo

pytestmark = pytest.mark.skipif(not is_installed(), reason="the extra openvino is not installed")

NETWORKS = {
    "style": network("c3s1-4,d6,R6,u4,c3s1-3"),
    "thumbnail": network("c3s1-4,d6,R6,u4,c3s1-3", norm="thumbnail", thumbnail=64),
    "x4": network("c3s1-4,R4,u4,u4,c3s1-3", norm="none", skip=True),
    "noise": network("c3s1-4,R4,c3s1-12,p2", norm="none", skip=True, noise_channels=2),
}


@pytest.fixture(scope="module")
def compiled() -> dict[str, OpenVinoNetwork]:
    found = {name: OpenVinoCompiler(2, 2, torch.float32).compile(each, name) for name, each in NETWORKS.items()}
    assert all(found.values())
    return {name: each for name, each in found.items() if each is not None}


def painted(subject: TransformNetwork, image: Pixels, tile_values: int = 10**9, *, exclusive: bool = False) -> Pixels:
    """An image through a network in tiles of that many values."""
    before, backend = torch.get_num_threads(), CpuBackend(2, 2)
    tiled = TiledImage(image, Tiling(subject, TileSizes(tile_values)))
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode(), backend.lane(exclusive):
        statistics = subject.statistics(batch) if subject.needs_statistics else None
        for tile in tiled.tiles:
            (output,) = backend.run(subject, [tiled.cut(tile)], statistics)
            assert output is not None
            ImageTile(tiled, tile).paste(output)
    torch.set_num_threads(before)
    return tiled.result


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(37, 61), (52, 44)])
def test_answers_are_those_of_torch_to_one_level(
    compiled: dict[str, OpenVinoNetwork], name: str, height: int, width: int
) -> None:
    image = photo(1, height, width)
    found, expected = painted(compiled[name], image), painted(for_inference(NETWORKS[name]), image)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_neither_tiles_nor_threads_change_a_byte(compiled: dict[str, OpenVinoNetwork], name: str) -> None:
    image = photo(2, 75, 90)
    whole = painted(compiled[name], image)
    assert np.array_equal(painted(compiled[name], image, tile_values=150_000), whole)
    assert np.array_equal(painted(compiled[name], image, exclusive=True), whole)


def test_nobody_is_told_of_it() -> None:
    """OpenVINO tells its makers of each import and each network, if it can."""
    program = (
        "import sys; from service.engine.openvino_network import import_openvino; import_openvino();"
        "assert sys.modules['openvino.tools.ovc.telemetry_utils'].tm.__name__ == 'openvino.tools.ovc.telemetry_stub'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_networks_that_see_the_whole_image_stay_with_torch() -> None:
    assert OpenVinoCompiler(1, 1, torch.float32).compile(network(norm="instance"), "wave@1") is None


def test_what_openvino_cannot_take_stays_with_torch_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(TransformNetwork):
        def transform(self, plane: torch.Tensor, statistics: torch.Tensor | None = None) -> torch.Tensor:
            raise RuntimeError(f"not {tuple(plane.shape)}, {statistics}")

    assert OpenVinoCompiler(1, 1, torch.float32).compile(Odd(network().spec).eval(), "wave@1") is None
    assert "wave@1 is computed by torch: OpenVINO cannot take it" in caplog.text
