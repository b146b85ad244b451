import pytest
import torch
from torch import Tensor, nn

from model_store.errors import ExportFailed
from model_store.exporters.graph import answers, check, for_batches_or_one, trace
from model_store.exporters.imported_graph import ImportedGraph
from model_store.importers.super_resolution import measure_imported
from model_store.networks.imported import ImportedNetwork
from tests.foreign import compact, span
from tests.networks import network

pytest.importorskip("spandrel")

from spandrel.architectures.DRUNet import DRUNet
from spandrel.architectures.OmniSR import OmniSR
from spandrel.architectures.SwinIR import SwinIR

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def swinir() -> nn.Module:
    made: nn.Module = SwinIR(
        upscale=2, depths=[1], num_heads=[1], embed_dim=4, window_size=8, mlp_ratio=1, upsampler="pixelshuffledirect"
    )
    return made


def omnisr() -> nn.Module:
    made: nn.Module = OmniSR(num_in_ch=3, num_out_ch=3, num_feat=16, up_scale=2, res_num=1, block_num=1, window_size=8)
    return made


def drunet() -> nn.Module:
    made: nn.Module = DRUNet(in_nc=4, out_nc=3, nc=[4, 4, 4, 4], nb=4, act_mode="R")
    return made


def imported(original: nn.Module) -> ImportedNetwork:
    return measure_imported(original.state_dict())


@pytest.mark.parametrize(("make", "padding"), [(swinir, "reflect"), (omnisr, "zeros"), (drunet, "reflect")])
@torch.no_grad()
def test_images_are_continued_as_the_network_does_it(make: type[nn.Module], padding: str) -> None:
    torch.manual_seed(0)
    subject = imported(make())
    graph = ImportedGraph(subject)
    assert graph.padding == padding
    check(lambda image: graph(image).clamp(0, 1), answers(subject, batched=False), "it")


@torch.no_grad()
def test_grey_networks_are_graphs_of_colours() -> None:
    subject = measure_imported(compact(channels=1))
    graph = ImportedGraph(subject)
    assert graph.padding == "own"
    check(lambda image: graph(image).clamp(0, 1), answers(subject, batched=False), "it")


def test_a_network_of_windows_is_traced_for_single_images_of_any_size() -> None:
    torch.manual_seed(0)
    subject = imported(swinir())
    program = trace(subject, "swin@1", batched=False).module()
    with torch.no_grad():
        check(program, answers(subject, batched=False), "it")


def test_span_is_traced_for_any_batch_with_its_convolutions_folded() -> None:
    subject = measure_imported(span())
    program = trace(subject, "span@1")
    assert not any("conv.0" in name for name in program.state_dict)
    with torch.no_grad():
        check(program.module(), answers(subject), "it")
    assert "block_1.c1_r.sk.weight" in dict(subject.model.named_parameters())  # the network itself stays as it was


def test_single_images_are_tried_where_batches_fail() -> None:
    tried: list[bool] = []

    def write(batched: bool) -> bytes:
        tried.append(batched)
        if batched:
            raise ExportFailed("no batches")
        return b"written"

    assert for_batches_or_one(measure_imported(compact()), write) == b"written"
    assert tried == [True, False]
    with pytest.raises(ExportFailed, match="no batches"):
        for_batches_or_one(network("c3s1-4,c3s1-3"), write)


def test_an_error_of_what_runs_a_graph_is_a_refusal() -> None:
    def run(image: Tensor) -> Tensor:
        raise AssertionError(f"Guard failed: {image.shape[2]} != 48")

    with pytest.raises(
        ExportFailed, match=r"it is not written: of an image of 1×3×48×64 it makes an error: Guard failed"
    ):
        check(run, answers(network("c3s1-4,c3s1-3"), batched=False), "it")
