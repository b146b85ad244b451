"""Table 1: seconds of hundreds of iterations of optimisation and of one forward pass, measured alternately."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from model_store import STYLE, NetworkSpec, TransformNetwork, for_inference
from trainer.config import Device, Threads
from trainer.hardware import Hardware
from trainer.image_optimization.optimizers import ProjectedLBFGS
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import StyleObjective
from trainer.objective import ImageObjective
from trainer.paper.charts import Line, Panel, chart, require_charts
from trainer.paper.published import SPEED, SPEEDUP
from trainer.paper.report import Report, Row, TableConfig, command

ITERATIONS = (100, 300, 500)
OPTIMISATION, PAPER, OURS = "optimisation", "paper", "ours"


class SpeedConfig(TableConfig):
    """The options of `paper speed`."""

    sizes: tuple[int, ...] = Field((256, 512, 1024), description="sides of the images")
    rounds: int = Field(3, ge=1, description="turns that each form has at each size; medians are given")
    iterations: int = Field(3, ge=1, description="of optimisation in a turn, from which those of 500 are computed")
    loss_network: str = Field("random", description="random (VGG-16's shapes), torchvision or a safetensors file")
    loss_layout: str = Field("auto", description="layout of the file; auto recognises it")
    device: Device = "auto"
    threads: Threads = 0


def speed(config: SpeedConfig) -> str:
    """Measure, write the report into `config.out` and return it; raises TrainerError without matplotlib."""
    require_charts()
    hardware = Hardware.of(config.device, "auto", config.threads)
    loss_network = load_loss_network(config.loss_network, config.loss_layout)
    hardware.place(loss_network)
    seconds = {size: measured(config, size, loss_network, hardware) for size in config.sizes}
    return _report(config, seconds, hardware, loss_network).save(config.out)


def measured(config: SpeedConfig, size: int, loss_network: LossNetwork, hardware: Hardware) -> Mapping[str, float]:
    """Median seconds at one size: of an evaluation of the objective, and of a forward pass in either form."""
    image = _noise(size, 0, hardware)
    optimizer = ProjectedLBFGS(_objective(loss_network, image, hardware), _noise(size, 1, hardware))
    forms = _forms(hardware)
    optimizer.step()  # not measured: on a GPU libraries are loaded and choose their algorithms
    times: dict[str, list[float]] = {OPTIMISATION: [], **{name: [] for name in forms}}
    for _ in tqdm(range(config.rounds), f"{size}×{size}", unit="round"):
        times[OPTIMISATION].append(_time_evaluation(optimizer, config.iterations, hardware))
        for name, form in forms.items():
            _time_pass(form, image, hardware)  # optimisation has replaced the contents of the caches
            times[name].append(min(_time_pass(form, image, hardware) for _ in range(3)))
    return {name: median(found) for name, found in times.items()}


def _forms(hardware: Hardware) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """The style network in the paper's form, eager in fp32, and in the form and precision that the service runs."""
    torch.manual_seed(0)
    paper = TransformNetwork(NetworkSpec(architecture=STYLE, form="paper")).eval().to(hardware.device)
    native = TransformNetwork(NetworkSpec(architecture=STYLE)).eval().to(hardware.device)
    return {PAPER: paper, OURS: for_inference(native, hardware.precision)}


def _time_evaluation(optimizer: ProjectedLBFGS, iterations: int, hardware: Hardware) -> float:
    """Seconds per evaluation of the objective over a few iterations, L-BFGS's own work included."""
    before, began = optimizer.evaluations, _now(hardware)
    for _ in range(iterations):
        optimizer.step()
    return (_now(hardware) - began) / (optimizer.evaluations - before)


def _time_pass(form: Callable[[Tensor], Tensor], image: Tensor, hardware: Hardware) -> float:
    began = _now(hardware)
    with torch.inference_mode():
        form(image)
    return _now(hardware) - began


def _now(hardware: Hardware) -> float:
    if hardware.device.type == "cuda":
        torch.cuda.synchronize(hardware.device)
    return time.perf_counter()


def _noise(size: int, seed: int, hardware: Hardware) -> Tensor:
    """A random image (1, 3, size, size); the time of a pass does not depend on its values."""
    generator = torch.Generator().manual_seed(seed)
    return hardware.images(torch.randint(0, 256, (1, 3, size, size), generator=generator, dtype=torch.uint8))


def _objective(loss_network: LossNetwork, image: Tensor, hardware: Hardware) -> ImageObjective:
    layout = loss_network.layout
    layers = {layout.content_layer, *layout.style_layers}
    with torch.no_grad():
        painting = loss_network(_noise(512, 2, hardware), layers)
    objective = StyleObjective(
        painting, layout.content_layer, layout.style_layers, content_weight=1.0, style_weight=5.0, tv_weight=0.5
    )
    return ImageObjective(objective, loss_network, image)


def _report(
    config: SpeedConfig, seconds: Mapping[int, Mapping[str, float]], hardware: Hardware, loss_network: LossNetwork
) -> Report:
    precision = str(hardware.precision).removeprefix("torch.")
    sizes = list(config.sizes)
    lines = [
        Line("500 iterations", [500 * seconds[size][OPTIMISATION] for size in sizes], sizes, "o-"),
        Line("the paper's form, fp32", [seconds[size][PAPER] for size in sizes], sizes, "o-"),
        Line(f"ours, {precision}", [seconds[size][OURS] for size in sizes], sizes, "o-"),
    ]
    return Report(
        "speed",
        "Table 1: speed",
        command("speed", config),
        {
            "Seconds": [_seconds_row(size, times, precision) for size, times in seconds.items()],
            "Times faster than so many iterations": [_ratios_row(size, times) for size, times in seconds.items()],
        },
        {"speed": [{"size": size, **times} for size, times in seconds.items()]},
        {"speed": chart([Panel("one image", lines)], "side, pixels", "seconds", log_x=True)},
        [
            (
                f"Measured: {config.rounds} turns of {config.iterations} iterations at each size, the forms taking "
                "turns; seconds of 100, 300 and 500 iterations are computed from the median of one."
            ),
            (
                "An iteration is counted as one evaluation of the objective and its gradient, the least that it can "
                "take. One is made before the first turn."
            ),
            (
                f"Loss network: {loss_network.source}. {hardware.device.type}, {torch.get_num_threads()} CPU threads, "
                f"torch {torch.__version__}."
            ),
            (
                "The paper's form: full width, transposed convolutions, batch normalisation, eager fp32 (on a GPU "
                f"torch computes its convolutions in TF32). Ours: the "
                f"same architecture in the native form, for_inference in {precision}. The paper's figures are of a "
                "GTX Titan X."
            ),
        ],
    )


def _seconds_row(size: int, times: Mapping[str, float], precision: str) -> Row:
    paper = SPEED.get(size, {})
    return {
        "side": size,
        **{f"{count} iterations": count * times[OPTIMISATION] for count in ITERATIONS},
        "network, paper's form": times[PAPER],
        f"network, ours ({precision})": times[OURS],
        "paper: 500 iterations": paper.get(500),
        "paper: network": paper.get(1),
    }


def _ratios_row(size: int, times: Mapping[str, float]) -> Row:
    row: dict[str, str | int | float | None] = {"side": size}
    for count in ITERATIONS:
        row[f"{count}, paper's form"] = round(count * times[OPTIMISATION] / times[PAPER])
        row[f"{count}, ours"] = round(count * times[OPTIMISATION] / times[OURS])
        row[f"{count}, in the paper"] = SPEEDUP.get(size, {}).get(count)
    return row
