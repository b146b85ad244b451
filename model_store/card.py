"""The model card: what people should know of a version, as Markdown with the metadata that the Hugging Face Hub reads.

https://huggingface.co/docs/hub/model-cards
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from model_store.manifest import Manifest, Origin
from model_store.networks.imported import ImportedSpec
from model_store.networks.transform import NetworkSpec
from model_store.training_command import answers_command, training_command

PREVIEW_FILE = "preview.png"

TASK_TAGS: Mapping[str, Sequence[str]] = {
    "style": ("style-transfer", "fast-neural-style"),
    "super-resolution": ("super-resolution", "image-upscaling"),
    "restoration": ("image-restoration",),
}

HUB_LICENSES = re.compile(
    r"apache-2\.0|mit|isc|zlib|unlicense|wtfpl|cc0-1\.0|cc-by(-nc)?(-nd|-sa)?-[234]\.[05]|(a|l)?gpl-[23]\.[01]|mpl-2\.0"
    r"|bsd-[23]-clause(-clear)?|bsl-1\.0|artistic-2\.0|eupl-1\.[12]|epl-[12]\.0|ofl-1\.1|odbl|pddl|openrail"
)
"""Licences with an identifier of the Hub's own, which are SPDX's in lower case."""

SCORES: Mapping[str, str] = {"psnr": "PSNR, dB", "ssim": "SSIM", "grid": "grid, dB"}
"""What validation measures, and how it is headed."""

INVENTING_OPTIONS = ("feature_weight", "texture_weight", "perceptual_weight", "teacher")
"""Options of a recipe by which an enlarging network learns to show detail that it cannot know."""


def model_card(manifest: Manifest, *, preview: bool) -> str:
    """The card of a version. `preview`: whether PREVIEW_FILE lies beside it."""
    front = yaml.safe_dump(_metadata(manifest), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(_sections(manifest, preview=preview)) + "\n"


def _metadata(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = {
        **_license(manifest.license),
        "library_name": "pastiche",
        "pipeline_tag": "image-to-image",
        "tags": [*TASK_TAGS[manifest.task], *([] if manifest.origin else ["perceptual-loss"]), "safetensors"],
    }
    results = [_result(name, scores) for name, scores in _scores(manifest).items()]
    return found | ({"model-index": [{"name": manifest.name, "results": results}]} if results else {})


def _license(spdx: str) -> dict[str, str]:
    """The metadata of a licence by its SPDX identifier; those that the Hub does not know are called other."""
    if not spdx:
        return {"license": "unknown"}
    known = re.sub("-(only|or-later)$", "", spdx.lower())
    return {"license": known} if HUB_LICENSES.fullmatch(known) else {"license": "other", "license_name": spdx}


def _result(data: str, scores: Mapping[str, float]) -> dict[str, Any]:
    """The figures of one set of images, as papers-with-code's index has them."""
    return {
        "task": {"type": "image-to-image"},
        "dataset": {"name": data, "type": data},
        "metrics": [{"type": name, "value": value} for name, value in scores.items() if name in ("psnr", "ssim")],
    }


def _scores(manifest: Manifest) -> dict[str, dict[str, float]]:
    """The scores of each set of validation images: {"set5": {"psnr": 31.6, …}}."""
    found: dict[str, dict[str, float]] = {}
    for key, value in manifest.provenance.metrics.items():
        name, _, data = key.partition("_")
        if name in SCORES and data:
            found.setdefault(data, {})[name] = value
    return found


def _sections(manifest: Manifest, *, preview: bool) -> Iterator[str]:
    yield f"# {_line(manifest.title) or manifest.name}"
    if manifest.description:
        yield manifest.description
    if preview:
        yield f"![{_preview_text(manifest)}]({PREVIEW_FILE})"
    yield _table(("", ""), _facts(manifest))
    yield f"## Use\n\n{_purpose(manifest)}\n\n{_console(_request(manifest))}"
    yield f"## Limits\n\n{_bullets(_limits(manifest))}"
    yield from _figures(manifest)
    if manifest.origin is None:
        yield from _recipe(manifest)
    yield f"## Licence\n\n{_license_text(manifest.license)}"


def _preview_text(manifest: Manifest) -> str:
    if manifest.task == "style":
        return "Photographs, and below what the network makes of them"
    return "Enlarged bicubically, below by the network, and at the bottom the originals"


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "version", f"`{manifest.label}`, {manifest.created:%Y-%m-%d}"
    yield "task", f"{manifest.task} ×{manifest.scale}" if manifest.task == "super-resolution" else manifest.task
    if manifest.provenance.style_image:
        yield "painting", _line(manifest.provenance.style_image)
    yield "network", _network(manifest.network)
    yield "parameters", f"{manifest.parameters:,}"
    yield "tiles", describe_tiles(manifest)
    if manifest.origin:
        yield "imported from", f"`{_line(manifest.origin.file)}` ({manifest.origin.layout}), `{manifest.origin.digest}`"
        yield from ((what, _line(how)) for what, how in _credits(manifest.origin))
    yield "licence", _line(manifest.license) or "not stated"
    yield "weights", f"`{manifest.digest}`"


def _network(spec: NetworkSpec | ImportedSpec) -> str:
    if isinstance(spec, ImportedSpec):
        return f"{_line(spec.architecture)}, built by {spec.package}"
    noise = f", channels of noise: {spec.noise_channels}" if spec.noise_channels else ""
    return f"`{spec.architecture}`, normalisation: {spec.norm}{noise}"


def describe_tiles(manifest: Manifest) -> str:
    """What tiles of an image give, in words."""
    if manifest.tileable:
        return "give exactly the whole image"
    if isinstance(manifest.network, ImportedSpec) and manifest.network.tiles == "overlapping":
        seam = f"on a test image they differ from the whole by {manifest.network.seam:.2g} levels of 255"
        return f"of large images overlap by {manifest.network.halo} pixels; {seam}"
    return "cannot be used: every pixel sees the image"


def _overlaps(manifest: Manifest) -> bool:
    return isinstance(manifest.network, ImportedSpec) and manifest.network.tiles == "overlapping"


def _credits(origin: Origin) -> Iterator[tuple[str, str]]:
    if origin.author:
        yield "author", origin.author
    if origin.source:
        yield "published at", origin.source
    yield from origin.assumptions.items()


def _purpose(manifest: Manifest) -> str:
    size = "network" if manifest.origin else "small network"
    if manifest.task == "style":
        painting = _line(manifest.provenance.style_image) or "one painting"
        return f"It paints photographs in the style of {painting}, in one pass of a {size}."
    if manifest.task == "restoration":
        return f"It restores photographs at their size, in one pass of a {size}."
    return f"It enlarges photographs {manifest.scale} times in width and height, in one pass of a {size}."


def _request(manifest: Manifest) -> str:
    if manifest.task == "style":
        return f"curl --data-binary @photo.jpg localhost:8000/v1/stylize/{manifest.name} -o painted.jpg"
    url = f"localhost:8000/v1/upscale/{manifest.scale}?model={manifest.name}"
    return f"curl --data-binary @photo.jpg '{url}' -o {'large' if manifest.scale > 1 else 'restored'}.jpg"


def _limits(manifest: Manifest) -> Iterator[str]:
    if manifest.origin:
        yield "It was trained elsewhere: what it suits is for its author to say."
        if isinstance(manifest.network, ImportedSpec) and manifest.network.channels == 1:
            yield "It knows grey images alone: of a coloured one it takes the luma, and its answer is grey."
    else:
        yield from _own_limits(manifest)
    if not manifest.tileable and not _overlaps(manifest):
        yield "Every pixel depends on the whole image, so memory grows with the image."


def _own_limits(manifest: Manifest) -> Iterator[str]:
    if manifest.task == "style":
        side = manifest.provenance.recipe.get("style_size")
        seen = f" It saw the painting with {side} pixels on its longer side." if side else ""
        yield f"Brush strokes have a fixed size in pixels: on larger photographs they look finer.{seen}"
        yield "Faces, text and other fine detail are painted over."
    else:
        yield from _enlarging_limits(manifest)
    yield "It was trained on photographs alone: for drawings, text and screenshots nothing is promised."


def _enlarging_limits(manifest: Manifest) -> Iterator[str]:
    recipe = manifest.provenance.recipe
    if recipe.get("degradation") == "photo":
        yield "It learned from damaged photographs: of a clean one it takes fine grain for noise."
    else:
        yield "It learned from photographs that were reduced bicubically: noise and JPEG artefacts are enlarged, too."
    if any(recipe.get(option) for option in INVENTING_OPTIONS):
        yield "Detail is invented to look sharp: an enlargement is no evidence of what was there."
    else:
        yield "It was trained for fidelity: what cannot be known stays soft."


def _figures(manifest: Manifest) -> Iterator[str]:
    scores, losses = _scores(manifest), manifest.provenance.losses
    if scores:
        yield f"## Scores\n\n{_table(('images', *SCORES.values()), _score_rows(scores))}"
    if losses:
        terms = [(name, f"{value:.4g}") for name, value in losses.items() if name != "gradient"]
        yield f"## Losses at the end of training\n\n{_table(('term, weighted', 'mean of the last steps'), terms)}"


def _score_rows(scores: Mapping[str, Mapping[str, float]]) -> Iterator[Sequence[str]]:
    for data, found in scores.items():
        yield data, *(f"{found[name]:.4g}" if name in found else "" for name in SCORES)


def _recipe(manifest: Manifest) -> Iterator[str]:
    provenance = manifest.provenance
    facts = [f"Training data: {_line(provenance.data)}.", f"Steps: {provenance.steps:,}."]
    if provenance.loss_network:
        facts.append(f"Loss network: {_line(provenance.loss_network)}.")
    if provenance.software:
        facts.append(f"Software: {', '.join(f'{name} {version}' for name, version in provenance.software.items())}.")
    text = f"## How it was trained\n\n{_bullets(facts)}"
    if provenance.recipe:
        commands = (answers_command(manifest), training_command(manifest))
        text += f"\n\nWith files of one's own, this trains such a network:\n\n{_console(*filter(None, commands))}"
    yield text


def _license_text(spdx: str) -> str:
    if spdx:
        return f"The weights are licensed under {_line(spdx)}."
    return (
        "No licence of the weights is stated. Without one, others have no permission to use them: ask whoever "
        "published them, and publish with `--license`."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _console(*commands: str) -> str:
    lines = "\n".join(f"$ {command}" for command in commands)
    return f"```console\n{lines}\n```"


def _line(text: str) -> str:
    """A text of the manifest on one line, which ends no cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
