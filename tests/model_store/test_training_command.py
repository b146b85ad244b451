import itertools
import shlex

import pytest

from model_store import SHIPPED_STORE, ModelStore, Provenance
from model_store.training_command import LINE, answers_command, training_command
from tests.model_store.test_card import manifest
from trainer.command_line import parse
from trainer.commands import Answers, Style, SuperResolution

SHIPPED = ModelStore(SHIPPED_STORE).names()


def words(command: str) -> list[str]:
    program, *arguments = shlex.split(command.replace("\\\n", " "))
    assert program == "pastiche-train"
    return arguments


@pytest.mark.parametrize("name", SHIPPED)
def test_command_of_a_shipped_network_has_the_options_of_its_recipe(name: str) -> None:
    stored = ModelStore(SHIPPED_STORE).manifest(name)
    command = training_command(stored)
    found = parse(words(command))
    assert isinstance(found, Style | SuperResolution)
    assert (found.name, found.license) == (name, stored.license)
    recipe = stored.provenance.recipe | {"precision": {"bfloat16": "bf16", "float32": "fp32"}}
    given_otherwise = {"precision", "preset", "teacher", "teacher_license"}
    for option, value in found.model_dump(include=recipe.keys() - given_otherwise).items():
        assert value == recipe[option], option
    assert found.precision == recipe["precision"][stored.provenance.recipe["precision"]]
    lines = [line.removesuffix(" \\").strip() for line in command.splitlines()]
    assert max(map(len, lines)) <= LINE
    for line, after in itertools.pairwise(lines):
        assert len(f"{line} {after.partition(' --')[0]}") > LINE  # the next option would not have fitted


def test_teacher_has_its_file_its_licence_and_a_folder_of_answers() -> None:
    teacher = {"teacher": "large.safetensors", "license": "BSD-3-Clause", "digest": "sha256:00"}
    recipe = {"scale": 4, "teacher_license": "", "teacher": teacher}
    found = words(training_command(manifest(license="", provenance=Provenance(data="", recipe=recipe))))
    teaching = ["--teacher", "large.safetensors", "--answers", "answers/", "--teacher-license", "BSD-3-Clause"]
    assert found[7:] == [*teaching, "--scale", "4"]


def test_restorer_of_a_teacher_is_an_option_beside_it() -> None:
    teacher = {"teacher": "large.safetensors", "restorer": "small.safetensors", "scale": 4, "seed": 3}
    recipe = {"scale": 4, "seed": 5, "teacher": teacher, "answer_count": 7}
    answers = parse(words(answers_command(manifest(provenance=Provenance(data="", recipe=recipe)))))
    assert isinstance(answers, Answers)
    assert (str(answers.teacher), str(answers.teacher_restorer)) == ("large.safetensors", "small.safetensors")


@pytest.mark.parametrize("name", ["x4-photo", "x2-photo"])
def test_answers_that_the_training_would_not_compute_have_a_command_of_their_own(name: str) -> None:
    stored = ModelStore(SHIPPED_STORE).manifest(name)
    training, answers = (parse(words(command(stored))) for command in (training_command, answers_command))
    assert isinstance(training, SuperResolution)
    assert isinstance(answers, Answers)
    teacher = stored.provenance.recipe["teacher"]
    assert (training.teacher, training.answers) == (None, answers.answers)
    assert (str(answers.teacher), answers.teacher_license) == (teacher["teacher"], teacher["license"])
    assert (str(answers.teacher_restorer) if answers.teacher_restorer else "") == teacher.get("restorer", "")
    assert (answers.scale, answers.seed, answers.answer_side) == (teacher["scale"], teacher["seed"], teacher["side"])
    assert answers.answer_count == training.answer_count == stored.provenance.recipe["answer_count"]


def test_other_answers_have_no_command() -> None:
    same = {"teacher": "large.safetensors", "scale": 4, "seed": 3}
    for teacher in (None, same, "great-wave@2"):
        recipe = {"scale": 4, "seed": 3, "teacher": teacher}
        assert answers_command(manifest(provenance=Provenance(data="", recipe=recipe))) == ""


def test_teacher_of_a_style_is_a_stored_network() -> None:
    recipe = {"teacher_weight": 10.0, "teacher": "great-wave@2"}
    found = parse(words(training_command(manifest(provenance=Provenance(data="", recipe=recipe)))))
    assert isinstance(found, Style)
    assert (found.teacher, found.teacher_weight) == ("great-wave@2", 10.0)


def test_values_are_written_as_they_are_typed() -> None:
    recipe = {"skip": True, "title": "", "preview": None, "sizes": [1, 2], "architecture": "R64*5", "preset": "cpu"}
    provenance = Provenance(data="", recipe=recipe, loss_network="vgg16, VGG16_Weights.IMAGENET1K_V1")
    found = words(training_command(manifest(license="", provenance=provenance)))
    assert found[:7] == ["style", "--name", "wave", "--content", "photographs/", "--style-image", "painting.jpg"]
    assert found[7:] == ["--skip", "true", "--sizes", "1", "2", "--architecture", "R64*5"]


def test_loss_network_of_a_file_has_the_name_of_its_layout() -> None:
    provenance = Provenance(data="", loss_network="vgg19-distilled, sha256:00, average pooling")
    assert "--loss-network vgg19-distilled.safetensors" in training_command(manifest(provenance=provenance))
