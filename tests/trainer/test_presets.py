import pytest

from model_store import SHIPPED_STORE, ModelStore
from trainer.command_line import parse
from trainer.commands import Style, SuperResolution
from trainer.config import StyleConfig, SuperResolutionConfig
from trainer.presets import (
    SHIPPED_SCALES,
    STYLE_PRESETS,
    SUPER_RESOLUTION_PRESETS,
    describe,
    style_preset,
    super_resolution_preset,
)

STYLE = ["style", "--name", "wave", "--content", "photos", "--style-image", "wave.jpg"]
UPSCALE = ["super-resolution", "--name", "large", "--content", "photos"]


def style(*more: str) -> Style:
    command = parse([*STYLE, *more])
    assert isinstance(command, Style)
    return command


def upscale(*more: str) -> SuperResolution:
    command = parse([*UPSCALE, *more])
    assert isinstance(command, SuperResolution)
    return command


@pytest.mark.parametrize("name", STYLE_PRESETS)
def test_preset_of_a_style_sets_its_options_and_is_kept_with_the_run(name: str) -> None:
    config = style("--preset", name).config(StyleConfig)
    found = config.model_dump()
    assert {option: found[option] for option in STYLE_PRESETS[name]} == STYLE_PRESETS[name]
    assert config.preset == name
    assert StyleConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", SUPER_RESOLUTION_PRESETS)
@pytest.mark.parametrize("scale", [*SHIPPED_SCALES, 3])
def test_preset_for_a_scale_has_the_layers_of_the_shipped_network(name: str, scale: int) -> None:
    config = upscale("--preset", name, "--scale", str(scale)).config(SuperResolutionConfig)
    found = config.model_dump()
    expected = super_resolution_preset(name, scale)
    assert {option: found[option] for option in expected} == expected
    if scale in SHIPPED_SCALES:
        shipped = ModelStore(SHIPPED_STORE).manifest(f"x{scale}")
        assert config.architecture == shipped.network.architecture
        assert config.warm_start == ("" if name == "gpu" else f"x{scale}")
    else:
        assert config.architecture == config.warm_start == ""


def test_scale_is_four_unless_it_is_given() -> None:
    assert upscale("--preset", "cpu").warm_start == "x4"


def test_styles_begin_with_a_network_of_their_layers() -> None:
    for name in ("quick", "cpu"):
        options = style_preset(name)
        shipped = ModelStore(SHIPPED_STORE).manifest(options["warm_start"])
        assert options["architecture"] == shipped.network.architecture


def test_options_that_are_given_take_precedence() -> None:
    found = style("--preset", "cpu", "--steps", "7", "--warm-start", "")
    assert (found.steps, found.warm_start, found.image_size) == (7, "", 160)
    assert style("--steps", "7").preset is None


def test_unknown_presets_set_nothing() -> None:
    assert style_preset("slow") == super_resolution_preset("slow", 4) == {}


def test_presets_are_described_by_their_options() -> None:
    text = describe({"quick": {"image_size": 8, "steps": 3}, "cpu": {"norm": "batch"}})
    assert text.endswith("quick = --image-size 8 --steps 3; cpu = --norm batch")
