import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

import pytest
import torch
from torch import Tensor

from tests.trainer.cpu_recorder import CpuRecorder, FailingRecorder
from tests.trainer.samples import loss_network_file, photographs, run_training, style_config, upscale_config
from trainer import step_graph
from trainer.config import TrainConfig
from trainer.hardware import Hardware
from trainer.learner import Learner
from trainer.run_folder import Run
from trainer.step_graph import CudaRecorder, GraphedSteps, Inputs, Recorder, State, Values, distance, recorder_of
from trainer.step_inputs import StepInputs
from trainer.task import build
from trainer.training_loop import train

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

LARGE = {"image_size": 72, "thumbnail": 72}
ZOOM = {"zoom": 2.0, "zoom_from": 0.0, "style_ramp": 0.5}

STYLES: dict[str, dict[str, Any]] = {
    "schedule": {"steps": 12, "warmup": 5, "style_ramp": 0.5, "norm": "thumbnail", "thumbnail": 16},
    "parts of large photographs": {"norm": "thumbnail", "thumbnail": 16, **ZOOM},
    "batch normalisation in parts": {"norm": "batch", "batch": 4, "accumulate": 2},
    "instance normalisation": {"norm": "instance", "ema": 0.0, "clip": 0.0, "precision": "bf16"},
    "all losses": {
        **LARGE,
        **ZOOM,
        "stability_weight": 3.0,
        "flat_texture_weight": 10.0,
        "blotch_weight": 10.0,
        "tone_weight": 1.0,
        "neighbour_weight": 1.0,
        "style_levels": 2,
    },
}

SUPER_RESOLUTION: list[tuple[dict[str, Any], int]] = [
    ({}, 6),
    ({"perceptual_weight": 2.0}, 24),
    ({"adversary_weight": 0.1, "steps": 6}, 6),
]
"""Options, and for how many steps: with a perceptual loss there are many shapes."""


@pytest.fixture(autouse=True)
def _one_step_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_graph, "WARM_UP_STEPS", 1)


def trained(config: TrainConfig, recorder: Recorder | None, device: str = "cpu", steps: int = 6) -> Learner:
    """A learner after some steps, all whose sizes are as few as on a GPU."""
    usual = Hardware.of(device, config.precision)
    task = build(config, Hardware(usual.device, usual.precision, fixed_shapes=True))
    learner = Learner(task, config, recorder=recorder)
    for step in range(steps):
        learner.step(task.photographs.batch(step), step + 1)
    return learner


def require_same(one: Learner, other: Learner, step: int = 6) -> None:
    """All that a step changes is the same, to the bit, and so is all that is saved of it."""
    found, expected = one.state(step), other.state(step)
    assert found["losses"] == expected["losses"]
    assert found["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]
    for part in ("network", "average"):
        assert all(torch.equal(found[part][name], value) for name, value in expected[part].items())
    for number, kept in expected["optimizer"]["state"].items():
        assert all(torch.equal(found["optimizer"]["state"][number][name], value) for name, value in kept.items())


def perceptual_config(folder: Path, **options: Any) -> TrainConfig:
    """×2 with all losses."""
    fields = {
        "content": photographs(folder / "large", width=90, height=90),
        "loss_network": str(loss_network_file(folder / "loss.safetensors")),
        "image_size": 80,
        "feature_weight": 1.0,
        "texture_weight": 0.5,
        "grid_weight": 100.0,
        "repetition_weight": 10.0,
        "blur": 1.0,
    }
    return upscale_config(folder, **fields | options)


@pytest.mark.parametrize("name", STYLES)
def test_a_recorded_style_step_is_the_usual_one_to_the_bit(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = style_config(tmp_path, **{"precision": "fp32"} | STYLES[name])
    recorder = CpuRecorder()
    require_same(trained(config, recorder), trained(config, None))
    assert recorder.replayed >= 4
    assert not caplog.records


@pytest.mark.parametrize(("options", "steps"), SUPER_RESOLUTION)
def test_a_recorded_super_resolution_step_is_the_usual_one_to_the_bit(
    tmp_path: Path, options: dict[str, Any], steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = perceptual_config(tmp_path, precision="fp32", batch=1, **options)
    recorder = CpuRecorder()
    require_same(trained(config, recorder, steps=steps), trained(config, None, steps=steps), steps)
    assert recorder.replayed >= 4
    assert not caplog.records


def test_a_run_goes_on_with_graphs_or_without(tmp_path: Path) -> None:
    config = style_config(tmp_path, precision="fp32", norm="batch")
    whole = trained(config, None)
    for before, after in ((CpuRecorder(), None), (None, CpuRecorder())):
        saved = copy.deepcopy(trained(config, before, steps=3).state(3))
        assert saved["optimizer"]["param_groups"][0]["capturable"] is False
        task = build(config, Hardware(CPU, torch.float32, fixed_shapes=True))
        learner = Learner(task, config, recorder=after)
        for step in range(learner.restore(saved), 6):
            learner.step(task.photographs.batch(step), step + 1)
        learner.losses(6)
        require_same_weights(learner, whole)


def require_same_weights(one: Learner, other: Learner) -> None:
    expected = other.average.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in one.average.state_dict().items())


def test_where_recording_fails_steps_are_the_usual_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = style_config(tmp_path, precision="fp32")
    require_same(trained(config, FailingRecorder()), trained(config, None))
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "CUDA graphs are not used, and training is slower: recording failed: operation"
    )


class Toy:
    """One weight, which a step changes by a rate times its input."""

    def __init__(self) -> None:
        self.weight, self.rate, self.steps = torch.zeros(3), torch.zeros(()), 0

    def compute(self, inputs: Inputs) -> Values:
        self.steps += 1
        change = inputs[0].tensors["change"] * self.rate
        self.weight += change
        return {"loss": change.sum()}

    def changed(self) -> State:
        return {"weights": [self.weight]}

    def run(self, steps: Callable[[Inputs], Values], count: int) -> list[float]:
        """The weight's first value after each step."""
        found = []
        for step in range(count):
            self.rate.fill_(1 + step)
            steps([StepInputs({"change": torch.full((3,), 2.0**step)})])
            found.append(self.weight[0].item())
        return found


EXPECTED = [1.0, 5.0, 17.0, 49.0, 129.0]


def graphed(toy: Toy, recorder: Recorder, compute: Callable[[Inputs], Values] | None = None) -> GraphedSteps:
    return GraphedSteps(compute or toy.compute, toy.changed, recorder, torch.float32)


def test_a_step_is_computed_once_then_recorded_compared_and_replayed() -> None:
    toy, recorder = Toy(), CpuRecorder()
    assert toy.run(graphed(toy, recorder), 5) == EXPECTED
    assert (recorder.recorded, recorder.replayed) == (1, 4)
    assert toy.steps == 1 + 1 + 2  # the first, the recorded one, and two to compare with


def test_a_number_that_the_graph_has_kept_is_found(caplog: pytest.LogCaptureFixture) -> None:
    toy, recorder = Toy(), CpuRecorder()

    def compute(inputs: Inputs) -> Values:
        change = inputs[0].tensors["change"] * float(toy.rate.numpy())
        toy.weight += change
        return {"loss": change.sum()}

    assert toy.run(graphed(toy, recorder, compute), 5) == EXPECTED
    assert recorder.replayed == 1
    assert "a recorded step is not the usual one: loss is 6 instead of 12" in caplog.text


class ForgetfulRecorder(CpuRecorder):
    """Its graphs leave something out: all, or what follows the losses."""

    def __init__(self, damage: Callable[[], None]) -> None:
        super().__init__()
        self._damage = damage

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        result, replay = super().record(work)

        def damaged() -> None:
            replay()
            self._damage()

        return result, damaged


def failing() -> None:
    raise RuntimeError("an illegal instruction was encountered")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda toy: toy.weight.fill_(1.0), "its weights differ by 1 of what a step changes"),
        (lambda toy: toy.weight.fill_(torch.nan), "its weights differ by nan of what a step changes"),
        (lambda _: failing(), "an illegal instruction was encountered"),
    ],
)
def test_a_replay_that_differs_is_undone(
    damage: Callable[[Toy], None], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    toy = Toy()
    assert toy.run(graphed(toy, ForgetfulRecorder(lambda: damage(toy))), 5) == EXPECTED
    assert [record.getMessage() for record in caplog.records] == [
        f"CUDA graphs are not used, and training is slower: a recorded step is not the usual one: {complaint}"
    ]


def test_what_differs_between_usual_steps_may_differ_from_the_graphs(caplog: pytest.LogCaptureFixture) -> None:
    toy = Toy()
    noise: Iterator[float] = iter([0.0, 0.0, 0.02, -0.02, 0.03] + 5 * [0.0])

    def compute(inputs: Inputs) -> Values:
        values = toy.compute(inputs)
        return {"loss": values["loss"] * (1 + next(noise))}

    toy.run(graphed(toy, CpuRecorder(), compute), 5)
    assert not caplog.records


def test_an_error_of_the_usual_step_is_not_hidden() -> None:
    toy = Toy()

    def compute(inputs: Inputs) -> Values:
        raise MemoryError

    with pytest.raises(MemoryError):
        toy.run(graphed(toy, CpuRecorder(), compute), 1)


def test_the_usual_step_is_taken_again_where_there_was_no_memory_beside_a_graph(
    caplog: pytest.LogCaptureFixture,
) -> None:
    toy, free = Toy(), iter([True, True, True, False, True, True, True, True])

    def compute(inputs: Inputs) -> Values:
        if not next(free):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return toy.compute(inputs)

    assert toy.run(graphed(toy, CpuRecorder(), compute), 5) == EXPECTED
    assert "CUDA out of memory" in caplog.text


class Memory:
    """Of a graph."""


class HoldingRecorder(CpuRecorder):
    """Its graphs have memory."""

    memory: "ReferenceType[Memory] | None" = None

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        result, replay = super().record(work)
        memory = Memory()
        self.memory = ref(memory)

        def holding() -> None:
            assert isinstance(memory, Memory)
            replay()

        return result, holding


@pytest.mark.parametrize("enough", [2, 3])
def test_a_graph_that_is_given_up_is_freed_before_the_usual_step(enough: int) -> None:
    """The first step is the usual one, the second is recorded, and the next two are compared with the graph."""
    toy, recorder = Toy(), HoldingRecorder()

    def compute(inputs: Inputs) -> Values:
        if toy.steps >= enough and recorder.memory and recorder.memory():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return toy.compute(inputs)

    assert toy.run(graphed(toy, recorder, compute), 5) == EXPECTED


def test_graphs_make_room_for_the_usual_step_of_a_larger_shape(caplog: pytest.LogCaptureFixture) -> None:
    toy, recorder = Toy(), CpuRecorder()

    def compute(inputs: Inputs) -> Values:
        values = toy.compute(inputs)
        if inputs[0].constants and steps.are_used:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return values

    steps = graphed(toy, recorder, compute)
    assert toy.run(steps, 3) == EXPECTED[:3]
    for _ in range(2):
        steps([StepInputs({"change": torch.ones(3)}, {"large": True})])
    assert toy.weight[0].item() == EXPECTED[2] + 2 * 3
    assert not steps.are_used
    (record,) = caplog.records
    assert record.getMessage().endswith("no memory for usual steps beside recorded ones: CUDA out of memory")


def test_each_shape_has_a_graph_and_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_graph, "MAX_GRAPHS", 2)
    toy, recorder = Toy(), CpuRecorder()
    steps = graphed(toy, recorder)
    toy.rate.fill_(1)
    for _ in range(4):
        for variant in range(3):
            steps([StepInputs({"change": torch.ones(3)}, {"variant": variant})])
    assert toy.weight.tolist() == [12.0] * 3
    assert (recorder.recorded, recorder.replayed) == (2, 2 * 3)


def test_distance_is_euclidean_over_all_tensors() -> None:
    assert distance([torch.zeros(2), torch.ones(1)], [torch.tensor([3.0, 0.0]), torch.tensor([5.0])]) == 5.0
    assert distance([], []) == 0.0


def test_steps_are_the_usual_ones_on_a_cpu_in_several_processes_and_with_hooks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = torch.nn.Linear(1, 1)
    assert recorder_of(network, CPU, wanted=True, processes=1) is None
    assert recorder_of(network, CUDA, wanted=False, processes=1) is None
    assert recorder_of(network, CUDA, wanted=True, processes=2) is None
    assert not caplog.records
    network.weight.register_hook(lambda gradient: gradient)
    assert recorder_of(network, CUDA, wanted=True, processes=1) is None
    assert "CUDA graphs are not used, and training is slower: gradients have hooks" in caplog.text


def gpu(test: Callable[..., None]) -> Callable[..., None]:
    """A test that needs a GPU."""
    needed = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    marked: Callable[..., None] = pytest.mark.gpu(needed(test))
    return marked


class CountingRecorder(CudaRecorder):
    """Counts what it records and what is replayed."""

    def __init__(self) -> None:
        super().__init__(torch.device("cuda", 0))
        self.recorded = self.replayed = 0

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        result, replay = super().record(work)
        self.recorded += 1

        def counted() -> None:
            self.replayed += 1
            replay()

        return result, counted


@gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", STYLES)
def test_a_gpu_replays_style_steps(tmp_path: Path, name: str, precision: str, caplog: pytest.LogCaptureFixture) -> None:
    config = style_config(tmp_path, **STYLES[name] | {"precision": precision, "device": "cuda"})
    recorder = CountingRecorder()
    found, usual = trained(config, recorder, "cuda"), trained(config, None, "cuda")
    assert not caplog.records  # each graph agrees with the usual step
    assert recorder.replayed >= 4
    assert found.losses(6) == pytest.approx(usual.losses(6), rel=0.2, abs=0.02)


@gpu
@pytest.mark.parametrize(("options", "steps"), SUPER_RESOLUTION)
def test_a_gpu_replays_super_resolution_steps(
    tmp_path: Path, options: dict[str, Any], steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = perceptual_config(tmp_path, device="cuda", **options)
    recorder = CountingRecorder()
    trained(config, recorder, "cuda", steps)
    assert not caplog.records
    assert recorder.replayed >= 4


@gpu
def test_a_run_on_a_gpu_replays_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With pictures, states and metrics between the steps, whose memory must not be the graphs'."""
    options = {"device": "cuda", "norm": "thumbnail", "thumbnail": 24, "zoom": 3.0, "zoom_from": 0.5, "workers": 3}
    run_training(style_config(tmp_path, steps=30, **options))
    run_training(style_config(tmp_path, steps=40, **options), resume=True)
    assert Run(tmp_path / "run").load()["step"] == 40
    assert "CUDA graphs are not used" not in caplog.text


@gpu
def test_a_step_that_cannot_be_captured_is_the_usual_one(tmp_path: Path) -> None:
    """In a process of its own: in torch 2.11 nothing can be captured after a capture that has failed."""
    code = "from tests.trainer.test_step_graph import train_waiting; import sys; train_waiting(sys.argv[1], 'cuda')"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").load()["step"] == 8
    assert "CUDA graphs are not used, and training is slower: recording failed" in done.stderr


def train_waiting(root: str, device: str) -> None:
    """Train by steps in which the host waits for the device."""
    config = style_config(Path(root), device=device, steps=8)
    task = build(config, Hardware.of(device, "auto"))
    losses = task.losses

    def waiting(inputs: StepInputs) -> Values:
        terms = losses(inputs)
        assert terms["tv"].item() >= 0
        return terms

    task.losses = waiting  # type: ignore[method-assign]
    train(task, config, Run(config.folder))
