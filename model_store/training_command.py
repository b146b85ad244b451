"""The commands that train a network like a stored one, from the recipe in its manifest."""

import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from model_store.manifest import Manifest, Provenance

LINE = 100
"""Characters of a line, without its indentation and the backslash."""

PRECISIONS = {"bfloat16": "bf16", "float32": "fp32"}
"""The recipe's names of precisions, and the option's."""

TORCHVISION = "VGG16_Weights"
"""In the name of the loss network that is the default."""

ANSWERS = "answers/"

NO_OPTIONS = frozenset({"name", "preset", "teacher", "teacher_license"})
"""Entries of a recipe that are given otherwise, or by all others."""


def training_command(manifest: Manifest) -> str:
    """The command line with every option of the recipe, in several lines. Files have the names of examples."""
    provenance = manifest.provenance
    words = ["pastiche-train", manifest.task, "--name", manifest.name, "--content", "photographs/"]
    words += ["--style-image", "painting.jpg"] if manifest.task == "style" else []
    words += _loss_network(provenance)
    words += _teacher(provenance.recipe)
    words += ["--license", manifest.license] if manifest.license else []
    for name, value in provenance.recipe.items():
        if name not in NO_OPTIONS:
            words += _option(name, value)
    return _wrapped(words)


def answers_command(manifest: Manifest) -> str:
    """The command that computes the answers first; empty where there is no teacher, or the training computes them."""
    recipe = manifest.provenance.recipe
    teacher = recipe.get("teacher")
    if not isinstance(teacher, dict) or _computes_answers(recipe, teacher):
        return ""
    words = ["pastiche-train", "answers", "--content", "photographs/", *_answers(teacher)]
    options = {"answer_count": recipe.get("answer_count"), "answer_side": teacher.get("side")}
    options |= {name: teacher.get(name) for name in ("scale", "seed")}
    return _wrapped([*words, *(word for name, value in options.items() for word in _option(name, value))])


def _loss_network(provenance: Provenance) -> list[str]:
    source = provenance.loss_network
    if not source or TORCHVISION in source:
        return []
    return ["--loss-network", f"{source.partition(',')[0]}.safetensors"]


def _teacher(recipe: Mapping[str, Any]) -> list[str]:
    """The options of a teacher: a stored network of a style, or the file of a large network, or its answers alone."""
    teacher = recipe.get("teacher")
    if not isinstance(teacher, dict):
        return ["--teacher", str(teacher)] if teacher else []
    return _answers(teacher) if _computes_answers(recipe, teacher) else ["--answers", ANSWERS]


def _answers(teacher: Mapping[str, Any]) -> list[str]:
    """A teacher's file, its restorer's, their licence and the folder of answers; a recipe also has their digests."""
    words = ["--teacher", str(teacher["teacher"]), *_option("teacher_restorer", teacher.get("restorer"))]
    words += ["--answers", ANSWERS]
    return words + (["--teacher-license", str(teacher["license"])] if teacher.get("license") else [])


def _computes_answers(recipe: Mapping[str, Any], teacher: Mapping[str, Any]) -> bool:
    """Whether the training would compute the same answers: of its own scale, and damaged by its own seed."""
    return all(teacher.get(name, recipe.get(name)) == recipe.get(name) for name in ("scale", "seed"))


def _option(name: str, value: Any) -> list[str]:
    """An option as it is typed; nothing where it has no value."""
    if value is None or value == "":
        return []
    if isinstance(value, list | tuple):
        return [f"--{name.replace('_', '-')}", *map(str, value)]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return [f"--{name.replace('_', '-')}", PRECISIONS.get(text, text) if name == "precision" else text]


def _wrapped(words: list[str]) -> str:
    return " \\\n    ".join(_lines(words))


def _lines(words: list[str]) -> Iterator[str]:
    """Lines of whole options, of at most LINE characters unless one option is longer."""
    line = ""
    for option in _options(words):
        if line and len(line) + 1 + len(option) > LINE:
            yield line
            line = ""
        line += f"{' ' if line else ''}{option}"
    yield line


def _options(words: list[str]) -> Iterator[str]:
    """The command, and then each option with its values, quoted."""
    begins = [0, *(index for index, word in enumerate(words) if word.startswith("--")), len(words)]
    for begin, end in pairwise(begins):
        yield shlex.join(words[begin:end])
